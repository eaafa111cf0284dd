"""Jobs of CCP-EM's pipeliner, the engine of Doppio: `align`, `classify` and `select`.

The pipeliner finds them by the entry points ``ccpem_pipeliner.jobs`` of the installed package and imports
``scipion_udl.ccpem.jobs``; nothing else in the package imports that module, or the pipeliner. What a job asks comes of
``settings/``, what it shows of the files that `scipion-udl relion` leaves in its folder.
"""
