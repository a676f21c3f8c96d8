"""File system operations that stay correct through a crash, a planted link and a second writer.

`atomic` replaces and creates files so that a loss of power leaves the old content or the new one.
`beneath` opens files below a folder without following a link. `lock` excludes other writers. Every
other room uses these three instead of calling rename, fsync, flock or openat itself.
"""
