"""How the MRI sequences of BraTS are spelled, in lower case and without separators, whatever a dataset calls them.

Names of image files (``datasets``) and of subsets in other programs' paths (``subset_notation``) are read by it.
"""

from __future__ import annotations

SPELLINGS = {
    "FLAIR": "flair t2f t2flair flairt2 t2wflair flairw darkfluid t2darkfluid tirmdarkfluid t2tirmdarkfluid "
    "t2spacedarkfluid",
    "T1": "t1 t1n t1w t1pre pret1 t1native t1wpre t1plain",
    "T1ce": "t1ce t1c t1gd t1gad t1gado t1post t1contrast t1ca t1cm t1km t1wce t1wc t1wgd t1wpost cet1 gdt1 postt1 ct1 "
    "cet1w cegadoliniumt1w cegdt1w t1postcontrast t1postgd t1wpostcontrast t1cegd t1gadolinium t1enhanced t1cw t1cew "
    "t1gdw",
    "T2": "t2 t2w t2tse t2fse",
}
SEQUENCE_OF = {spelling: sequence for sequence, spellings in SPELLINGS.items() for spelling in spellings.split()}
"""{spelling: sequence as BraTS calls it}."""
