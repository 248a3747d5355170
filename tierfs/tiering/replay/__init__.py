"""An access log played through tier policies, on a virtual clock: `tierfs policy replay`."""
