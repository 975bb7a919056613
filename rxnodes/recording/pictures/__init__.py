"""Pictures of recordings: as SVG, as Mermaid, and for a terminal."""
