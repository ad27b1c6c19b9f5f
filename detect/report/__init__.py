"""Reports that people look at: plain functions that take data and return one HTML page.

A page opens offline and asks for nothing outside itself. Numbers come from the evaluator; nothing
is scored here or in the page's script.
"""
