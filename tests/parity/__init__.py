"""The mount beside a native filesystem, call by call; `harness` says how a case is written."""
