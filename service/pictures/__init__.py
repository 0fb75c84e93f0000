"""Pictures for people: previews, refusal pictures, the demo's overview. Pillow only."""
