"""One transaction over time: its lanes and marks, drawn as SVG, told as a list. Imports service and below."""
