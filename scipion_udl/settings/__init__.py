"""Every option once: name, unit, range, default, label and help. The command line's parser and the forms of Scipion are
made from it, and jobs take the values as :mod:`~scipion_udl.settings.commands` types them. Runs on Python 3.8."""
