"""What makes each alert fire, and what looks much like it and must not.

Values are promtool's: `0+10x60` is a counter that grows by 10 a minute for 60 minutes, `3x60` a
gauge that stays at 3.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Minutes of each test.
MINUTES = 60
_DAY = 26 * 60


@dataclass(frozen=True)
class Case:
    """Series by name and labels; the values of those that fire and of those that do not."""

    series: tuple[str, ...]
    fires: tuple[str, ...]
    quiet: tuple[str, ...]
    minutes: int = MINUTES


def gauge(series: str, fires: float, quiet: float) -> Case:
    return Case((series,), (f"{fires}x{MINUTES}",), (f"{quiet}x{MINUTES}",))


def counter(series: str, fires: float, quiet: float) -> Case:
    """Growth a minute."""
    return Case((series,), (f"0+{fires}x{MINUTES}",), (f"0+{quiet}x{MINUTES}",))


def slow(name: str, labels: str, seconds: float) -> Case:
    """A histogram whose values all lie above, or all below, a bound."""
    bounds = (f'le="{seconds}"', f'le="{seconds * 4}"', 'le="+Inf"')
    grows, still = f"0+100x{MINUTES}", f"0x{MINUTES}"
    return Case(
        tuple(f"{name}_bucket{{{labels}{bound}}}" for bound in bounds),
        (still, grows, grows),
        (grows, grows, grows),
    )


def several(*series: tuple[str, str, str]) -> Case:
    """(name and labels, values that fire, values that do not), each for MINUTES."""
    return Case(
        tuple(line[0] for line in series),
        tuple(f"{line[1]}x{MINUTES}" for line in series),
        tuple(f"{line[2]}x{MINUTES}" for line in series),
    )


_STARTABLE = (
    ('aily_queue_depth{model="m",lane="normal"}', "500", "500"),
    ('aily_leases_limit{model="m"}', "400", "400"),
)
_REQUESTS = "aily_http_request_duration_seconds_count"
_ENDS = "aily_task_duration_seconds_count"

ALERTS: dict[str, Case] = {
    # --- services ---------------------------------------------------------------------------
    "AilyServiceDown": gauge('aily_up{service="redis"}', 0, 1),
    # While PostgreSQL is away the exporter shows no workers: it is up all the same.
    "AilyExporterDown": several(
        ("up", "1", "1"),
        ('aily_up{service="database"}', "_", "0"),
        ("aily_workers_alive", "_", "_"),
    ),
    "AilyTargetDown": gauge('up{job="web",instance="a"}', 0, 1),
    "AilyNoWorkers": gauge("aily_workers_alive", 0, 1),
    "AilyWorkersLost": counter("aily_workers_lost_total", 1, 0.1),
    "AilyFaults": counter('aily_faults_total{place="claiming"}', 1, 0),
    "AilyCollectorSlow": gauge("aily_collector_duration_seconds", 3, 1),
    # --- web --------------------------------------------------------------------------------
    "AilyErrors": several(
        (f'{_REQUESTS}{{status="500"}}', "0+5", "0+1"),
        (f'{_REQUESTS}{{status="200"}}', "0+95", "0+99"),
    ),
    "AilyRequestsRefused": counter('aily_request_errors_total{code="queue_full"}', 120, 30),
    "AilyRequestsSlow": slow("aily_http_request_duration_seconds", 'route="/api/scenes",', 2),
    "AilyRelaySlow": slow("aily_relay_lag_seconds", "", 2),
    "AilyReadersLost": counter("aily_hub_feeds_lost_total", 6000, 600),
    "AilyReconnectStorm": several(
        ("aily_websockets_opened_total", "0+6000", "0+600"),
        ("aily_websockets_open", "2000", "2000"),
    ),
    "AilyEventLoopBlocked": slow("aily_event_loop_lag_seconds", 'process="web",', 0.5),
    "AilySocketsPerProcessHigh": gauge('aily_websockets_open{instance="a"}', 16_000, 9_000),
    # Together they are too many; in the quiet case most log-ins succeed.
    "AilyLoginsFail": several(
        ('aily_logins_total{method="password",outcome="failed"}', "0+24", "0+6"),
        ('aily_logins_total{method="password",outcome="refused"}', "0+24", "0+6"),
        ('aily_logins_total{method="password",outcome="succeeded"}', "0+6", "0+600"),
    ),
    # --- queue ------------------------------------------------------------------------------
    "AilyQueueOld": gauge('aily_queue_oldest_age_seconds{model="m",lane="interactive"}', 300, 60),
    # In the quiet case the provider's cap is used up: there is nothing to start.
    "AilyQueueStalled": several(
        *_STARTABLE,
        ('aily_leases_in_use{model="m"}', "0", "400"),
        ("aily_task_queue_duration_seconds_count", "7", "7"),
    ),
    "AilyWorkersFull": several(
        *_STARTABLE,
        ('aily_leases_in_use{model="m"}', "100", "100"),
        ("aily_worker_calls_running", "95", "50"),
        ("aily_worker_calls_capacity", "100", "100"),
    ),
    "AilyQueueNearlyFull": gauge('aily_queue_depth{model="m",lane="batch"}', 170_000, 90_000),
    "AilyTasksFail": several(
        (f'{_ENDS}{{model="m",status="failed"}}', "0+20", "0+5"),
        (f'{_ENDS}{{model="m",status="succeeded"}}', "0+80", "0+95"),
    ),
    "AilyTasksRetried": several(
        ('aily_task_retries_total{model="m"}', "0+60", "0+6"),
        ('aily_tasks_submitted_total{model="m"}', "0+100", "0+100"),
    ),
    "AilyTasksRecovered": counter("aily_tasks_recovered_total", 20, 2),
    "AilySettlementBehind": several(
        ("aily_settlement_oldest_age_seconds", "90", "3"), ("aily_settlement_backlog", "9", "9")
    ),
    # --- providers --------------------------------------------------------------------------
    "AilyProviderBreakerOpen": gauge('aily_provider_breaker_state{provider="p"}', 1, 0),
    "AilyProviderErrors": counter(
        'aily_provider_errors_total{model="m",code="provider_overloaded"}', 60, 6
    ),
    "AilyProviderAccount": several(
        ('aily_provider_errors_total{model="m",code="provider_balance"}', "0+1", "0"),
    ),
    "AilyProviderThrottles": several(
        ('aily_leases_limit{model="m"}', "40", "90"), ('aily_leases_cap{model="m"}', "100", "100")
    ),
    "AilyProviderPaused": several(
        ('aily_pool_pause_seconds{model="m"}', "90", "30"),
        ('aily_pool_paused{model="m"}', "0", "0"),
    ),
    "AilyProviderSlow": slow(
        "gen_ai_client_operation_time_to_first_chunk_seconds", 'gen_ai_request_model="m",', 30
    ),
    # One a minute, and in the last two hours twenty.
    "AilyCostHigh": Case(
        ('aily_cost_total{currency="USD"}',),
        (f"0+1x{_DAY - 120} {_DAY - 120}+20x120",),
        (f"0+1x{_DAY}",),
        _DAY,
    ),
    # --- deliveries -------------------------------------------------------------------------
    "AilyDeliveriesOverdue": gauge(
        'aily_deliveries_oldest_due_age_seconds{kind="webhook"}', 400, 20
    ),
    "AilyDeliveriesFail": counter('aily_deliveries_total{kind="webhook",outcome="failed"}', 1, 0.1),
    # --- PostgreSQL -------------------------------------------------------------------------
    "AilyDatabasePoolExhausted": gauge('aily_db_pool_waiting{process="web"}', 8, 2),
    "AilyDatabaseConnectionsHigh": several(
        ('aily_db_connections{state="idle"}', "60", "20"),
        ('aily_db_connections{state="active"}', "35", "20"),
        ("aily_db_connections_max", "100", "100"),
    ),
    "AilyDatabaseSlow": slow("aily_db_query_duration_seconds", 'operation="select",', 1),
    "AilySlowQueries": counter('aily_db_slow_queries_total{operation="select"}', 12, 1),
    "AilyDatabaseLocks": gauge("aily_db_lock_waits", 12, 3),
    "AilyDatabaseLongTransaction": gauge("aily_db_longest_transaction_seconds", 400, 30),
    "AilyDatabaseDeadlocks": counter("aily_db_deadlocks_total", 1, 0),
    # --- Redis ------------------------------------------------------------------------------
    # No limit (0) is no reason to wake anybody.
    "AilyRedisMemoryHigh": several(
        ('aily_redis_memory_used_bytes{service="redis"}', "90", "90"),
        ('aily_redis_memory_max_bytes{service="redis"}', "100", "0"),
    ),
    "AilyRedisEvicts": counter('aily_redis_evicted_keys_total{service="redis"}', 1, 0),
    "AilyRedisClientsHigh": several(
        ('aily_redis_connected_clients{service="redis"}', "90", "50"),
        ('aily_redis_clients_max{service="redis"}', "100", "100"),
    ),
    "AilyRedisRefusesClients": counter(
        'aily_redis_rejected_connections_total{service="redis"}', 1, 0
    ),
    "AilyCacheUseless": several(
        ('aily_redis_keyspace_hits_total{service="cache"}', "0+1000", "0+9000"),
        ('aily_redis_keyspace_misses_total{service="cache"}', "0+9000", "0+1000"),
    ),
}
