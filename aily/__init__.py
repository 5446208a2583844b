"""Settings, entry points and infrastructure of the project. Every process imports it first."""

from aily.process.garbage import spare_start_and_end
from aily.process.lean_imports import leave_out_unused

spare_start_and_end()
leave_out_unused()
