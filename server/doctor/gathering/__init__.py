"""Where the doctor touches the machine: programs, files of the kernel, sockets. Nothing here judges."""
