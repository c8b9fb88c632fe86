"""Compiled programs: what makes a solve fast, and may be left out."""
