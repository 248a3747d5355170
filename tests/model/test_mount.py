"""The model against a real mount: the core, the adapter, pyfuse3, libfuse and the kernel."""

import pytest

from tests.model.driver import PYTHON_ONLY, TIERFS
from tests.model.native_driver import NativeDriver
from tests.model.running import SMALL_HEAD, TIMEOUT_S, USUAL_HEAD, run_machine
from tests.support.fixtures import MakeMount
from tests.support.mounting import FAST_PATH, Mount

pytestmark = pytest.mark.long


class MountDriver(NativeDriver):
    """A directory of a mounted volume, which is unmounted and mounted again when asked."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        super().__init__(mount.path, TIERFS if FAST_PATH else PYTHON_ONLY)

    def bring_down(self) -> None:
        """Unmount: no memory of the kernel or the daemon is left."""
        self._mount.unmount()

    def bring_up(self) -> None:
        """Mount, over what a killed daemon left if need be."""
        self._mount.mount()

    def kill(self) -> None:
        """Kill the daemon."""
        self._mount.kill()


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("head", [SMALL_HEAD, USUAL_HEAD])
def test_a_mount_does_what_the_model_does(make_mount: MakeMount, head: int) -> None:
    mount = make_mount(head=head)
    run_machine(lambda: MountDriver(mount), head, examples=15)
    assert_nothing_is_left(mount)


def assert_nothing_is_left(mount: Mount) -> None:
    """Every file was removed: no object may be left once the daemon has ended."""
    mount.unmount()
    objects = [*mount.flash.glob("heads/*/*/*"), *mount.disk.glob("objects/*/*/*")]
    assert not objects, f"objects of removed files are left: {objects}"
