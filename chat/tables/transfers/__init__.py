"""What imports and exports have in common: leases, the threads that work, files, limits."""
