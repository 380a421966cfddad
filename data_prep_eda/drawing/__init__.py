"""How the embedded sample is drawn: `scenery` holds the tools, `landforms` coasts and mountains, `woodland` forests."""
