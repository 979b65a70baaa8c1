"""Where one node's processes run: this machine, a namespace, a container, a host."""
