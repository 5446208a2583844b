"""Settings, entry points and infrastructure of the project. Every process imports it first."""

from aily.garbage import spare_start_and_end
from aily.lean_imports import leave_out_unused

spare_start_and_end()
leave_out_unused()
