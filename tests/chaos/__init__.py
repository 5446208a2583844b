"""Kills every part of aily at random under load, and proves that nothing was lost or doubled."""
