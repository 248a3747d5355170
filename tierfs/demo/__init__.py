"""``python -m tierfs.demo``: the main job of tierfs, shown and checked on this machine.

It makes a volume in temporary directories, mounts it with the user's own commands, copies
generated images, awkward files and the machine's Python installation in with ``cp -a``, mounts
again with cold caches, compares every byte and attribute with the source, says where the bytes
lie and what a first read costs, and leaves nothing behind.

    app         the order of the steps
    workspace   the temporary directories; space: what fits into them
    dataset, oddities, source   the three trees that are copied in
    volume      init, mount, status and umount, by the commands of the user
    copying     ``cp -a`` with a progress bar
    verify      several reader processes; compare: what one of them does; findings: what it says
    first_read  what a first read costs; caches: making it a first read; storage: on what device
    report      where the bytes lie
    ui          progress bars and tables, plain text when not on a terminal
"""
