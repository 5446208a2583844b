"""Tables that map a vendor's status, numbers, names and message to one of our errors.

The first match counts, so specific entries come first.
"""

from __future__ import annotations

import re

from chat.llm.errors import (
    AuthError,
    BadRequestError,
    BalanceError,
    InvalidResponseError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    WrongAddressError,
)

Kind = type[ProviderError]
Patterns = tuple[tuple[re.Pattern[str], Kind], ...]

BY_STATUS: dict[int, Kind] = {
    401: AuthError,
    402: BalanceError,
    403: AuthError,
    404: ModelNotFoundError,
    405: WrongAddressError,
    407: AuthError,  # of a proxy
    408: ProviderError,
    409: ProviderError,
    420: RateLimitError,
    423: ProviderError,
    425: ProviderError,
    429: RateLimitError,
    498: OverloadedError,  # Groq's: no capacity in its flex tier
    499: ProviderError,  # a proxy has lost its patience
    503: OverloadedError,
    529: OverloadedError,  # Anthropic's, Cloudflare's
}

# --- Numbers ------------------------------------------------------------------------------------
MINIMAX: dict[int, Kind] = {
    **dict.fromkeys((1000, 1001, 1013, 1024, 1033), ProviderError),
    **dict.fromkeys((1002, 1039, 1041, 2045), RateLimitError),
    **dict.fromkeys((1004, 2049), AuthError),
    **dict.fromkeys((1008, 1028, 1030, 2056), BalanceError),
    **dict.fromkeys((1026, 1027, 1042, 1043, 2013), BadRequestError),
    2061: ModelNotFoundError,
}
BAIDU: dict[int, Kind] = {
    **dict.fromkeys((1, 336000, 336100), ProviderError),
    2: OverloadedError,
    **dict.fromkeys((4, 18, 336501, 336502, 336503, 336504, 336505), RateLimitError),
    **dict.fromkeys((6, 13, 14, 15, 100, 110, 111, 336004), AuthError),
    **dict.fromkeys((17, 19), BalanceError),
    **dict.fromkeys(range(336001, 336004), BadRequestError),
    **dict.fromkeys(range(336005, 336008), BadRequestError),
    **dict.fromkeys((3, 336103, 336104, 336106, 336123, 336221), BadRequestError),
}
_ZHIPU: dict[int, Kind] = {
    **dict.fromkeys((*range(1000, 1005), 1110, 1111, 1112, 1120, 1220), AuthError),
    **dict.fromkeys((1113, 1304, 1308, 1309, 1310), BalanceError),
    **dict.fromkeys((*range(1212, 1216), 1210, 1261, 1301), BadRequestError),
    **dict.fromkeys((1211, 1221, 1222), ModelNotFoundError),
    **dict.fromkeys((1230, 1234, 1200), ProviderError),
    **dict.fromkeys((1302, 1303), RateLimitError),
    **dict.fromkeys((1305, 1312), OverloadedError),
}
_SILICONFLOW: dict[int, Kind] = {
    **dict.fromkeys((20012, 30003), ModelNotFoundError),
    20015: BadRequestError,
    30001: BalanceError,
    **dict.fromkeys((50505, 50603, 50604), OverloadedError),
}
_SPARK: dict[int, Kind] = {
    **dict.fromkeys((10013, 10014, 10019, 10907, 10163), BadRequestError),
    **dict.fromkeys((10007, 11202, 11203), RateLimitError),
    10110: OverloadedError,
    10404: ModelNotFoundError,
    11200: AuthError,
    11201: BalanceError,
}
BY_NUMBER = {**_ZHIPU, **_SILICONFLOW, **_SPARK}


def _patterns(*rows: tuple[Kind, list[str]]) -> Patterns:
    return tuple((re.compile("|".join(alternatives)), kind) for kind, alternatives in rows)


# --- Names: an error's `code`, `type` and the like, as letters and digits ------------------------
BY_NAME = _patterns(
    (
        BalanceError,
        [
            r"arrear|overdue|billing|paymentrequired|notpurchased|freetieronly",
            r"insufficient(account|user|token)?(balance|quota|funds|credit)|balanceisnotenough",
            r"notenoughbalance|exceededcurrentquota|quotaexhausted|creditsexhausted",
            r"^quotaexceeded$|quotareached|setlimitexceeded|budgetexceeded",
            r"(chargeresource|resourcepack)exhausted|spend(ing)?limit",
        ],
    ),
    (
        BadRequestError,
        [
            r"contentfilter|contentpolicy|contentblocked|prohibitedcontent|datainspection",
            r"sensitive|riskdetection|moderation|flagged|responsibleai|invalidprompt|promptblocked",
            r"illegaldetected",
            r"contextlength|contextwindow|contextsize|stringabovemax|requesttoolarge",
        ],
    ),
    # The model wrote a tool call or JSON wrongly: another attempt may do better.
    (InvalidResponseError, [r"^(tooluse|jsonvalidate)failed$"]),
    (
        RateLimitError,
        [
            r"ratelimit|requestlimit|concurrencylimit|burstlimit|limitrequests|limitburstrate",
            r"toomanyrequest|throttl|resourceexhausted|inflightbatchsize|^queueexceeded$",
        ],
    ),
    (
        OverloadedError,
        [
            r"overload|(service|temporarily)unavailable|^unavailable$|capacityexceeded|overcapacity",
            r"serverbusy|enginebusy",
        ],
    ),
    (
        ModelNotFoundError,
        [
            r"model(id)?(not(found|exist|open|available|supported)|doesnotexist)",
            r"model(decommissioned|deprecated|retired)|invalidmodel|unknownmodel|unsupportedmodel|invalidendpointormodel",
            r"deploymentnotfound",
        ],
    ),
    (
        AuthError,
        [
            r"authenticat|unauthori[sz]|apikey|invalidtoken|iamtoken|signaturedoesnotmatch",
            r"permission|accessdenied|forbidden|authfailure",
            r"(account|organization|project)(deactivated|disabled|restricted|suspended)",
        ],
    ),
)
# Servers use these for any error, so messages are searched before them.
BY_GENERAL_NAME = _patterns(
    (
        BadRequestError,
        [
            r"^(invalid|bad)(request|parameter|argument|input)|badrequesterror|invalidparameter",
            r"validationerror|^validation$|unprocessable|unsupportedparameter|missingparameter",
        ],
    ),
    (WrongAddressError, [r"^notfound"]),
)

# --- Messages -----------------------------------------------------------------------------------
# DeepSeek uses the code invalid_request_error for most errors, so the message decides.
BY_MESSAGE = _patterns(
    (
        BalanceError,
        [
            r"insufficient (account )?(balance|credit|quota|fund)|credit balance|out of credits",
            r"balance is (insufficient|too low)|requires more credits",
            r"exceeded your (current |monthly |free )?(included )?(quota|credits)",
            r"used all available credits|(doesn.t|does not) have any credits|not enough quota",
            r"daily free allocation|in arrears|arrearage|overdue",
            r"(spend(ing)? limit|past invoices|specified api usage limits)",
            r"额度(不足|失败|已?用尽|已?用完)|资源包[^\n]{0,10}(用尽|耗尽|不足)|余额不足|余额已用完|欠费|账户已用尽",
        ],
    ),
    (
        BadRequestError,
        [
            r"content exists risk|content management policy|content[ _]polic|content[ _]filter",
            r"content is illegal|content moderation|violates (our |the )?(usage|content)",
            r"inappropriate content",
            r"sensitive content|sensitive information|was flagged",
            r"context (length|window|size)|prompt is too long|input is too long",
            r"max_tokens must be at least",
            r"敏感|违规|不安全|超过最大长度|上下文",
        ],
    ),
    (
        ModelNotFoundError,
        [
            r"model[^\n]{0,160}(does ?n.t exist|(does )?not exist|not found)",
            r"model(:| id)? [^\s:]{1,160} is not supported",
            r"(this|requested|specified|given) model is not supported",
            r"model[^\n]{0,160}(has been|is) (decommissioned|retired|discontinued)",
            r"model \S{1,100} (has been|is) deprecated",
            r"model identifier is invalid|not found the model|invalid model|unknown model",
            r"no such model|not a valid model",
            r"no endpoints found|unable to access model|deployment [^\n]{0,80}does not exist",
            r"模型不存在|^model: ",
        ],
    ),
    (
        AuthError,
        [
            r"(invalid|incorrect|wrong|missing|no)( or missing)? api[ _-]?key",
            r"api[ _-]?key (is )?(not valid|invalid|expired|missing)|无效的令牌|无效的api",
        ],
    ),
)
# A request that is larger than the limit of a minute: waiting does not help, and another request
# is not to wait for it, though some vendors say that it came too fast.
TOO_LARGE = re.compile(
    r"request too large for|tokens must be reduced|reduce your message size|body too large"
)
# A 404 whose message is about the path, as web servers and frameworks write it.
WRONG_PATH = re.compile(
    r"\b(url|uri|path|route|page|file|handler|endpoint)\b|^\W*(http )?(404:? ?)?not ?found\W*$"
    r"|^\W*(404 )?(the )?(requested )?resource (was )?not found|^404 not found|cannot post|nginx"
)
# Errors in an event, which have no HTTP status.
WITHOUT_STATUS = _patterns(
    (RateLimitError, [r"rate limit|too many requests|请求过于频繁|并发|请求过多"]),
    (
        OverloadedError,
        [
            r"overloaded|server is busy|capacity (temporarily )?exceeded|no available",
            r"服务繁忙|访问量过大|饱和",
        ],
    ),
    (
        AuthError,
        [
            r"authentication (error|failed)|unauthori[sz]ed|(not |un)authenticated",
            r"(invalid|expired) (access )?token\b(?! (ids?|at|in|count|limit|budget)\b|:)",
            r"token (is |has )?(invalid|expired)|鉴权失败|未授权",
        ],
    ),
    (WrongAddressError, [r"unexpected endpoint or method|no route for that uri"]),
)
