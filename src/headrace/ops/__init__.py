"""Operating an application: admission and draining, what is counted. No web framework here."""
