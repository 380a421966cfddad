"""From the SUN 09 archive, or from your own folders, to checked images with a split; and the embedded sample."""
