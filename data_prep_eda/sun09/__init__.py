"""Gets the 1,158 images of the study out of the SUN 09 archive; `data_prep_eda.split` goes on from there."""

from data_prep_eda.manifests import CLASSES as CLASSES
