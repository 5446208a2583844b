"""Settings, entry points and infrastructure of the project. Every process imports it first."""

from aily.garbage import spare_start_and_end

spare_start_and_end()
