"""How pages write dates and times, by language (`FORMAT_MODULE_PATH`)."""
