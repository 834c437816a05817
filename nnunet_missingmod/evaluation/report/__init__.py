"""From score rows to tables, figures and one HTML page."""
