"""Static pictures of findings: SVG that reads with no script and in both themes."""
