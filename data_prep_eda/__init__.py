"""From the SUN 09 archive to data/{train,validation,test}: get, audit, split; and the embedded sample."""
