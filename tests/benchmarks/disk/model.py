"""A disk drive with one head, computed on its caller's clock. Pure: nothing here waits.

An access pays for what a drive's head has to do: a *seek* over a distance, the *rotation* until
the first byte comes by, and the *transfer* at the rate of the track. One that begins where the
last one ended, or in the read-ahead behind it, pays for the transfer alone.

The seek curve has the usual form (Ruemmler and Wilkes, "An introduction to disk drive modeling",
IEEE Computer 27(3), 1994): a time to settle, a part that grows with the root of the distance,
while the arm accelerates, and a part that grows with the distance, while it coasts.

Times are in seconds, sizes, addresses and distances in bytes, rates in bytes a second.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from tierfs.common.units import MIB, format_size

Order = Literal["elevator", "fifo"]

READ_EXPIRE_S: Final = 0.5
"""read_expire of mq-deadline."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """``length`` bytes at ``address``, asked for at ``arrived`` (seconds)."""

    address: int
    length: int
    arrived: float
    writes: bool = False


class Queue:
    """Requests that wait."""

    def __init__(self, order: Order) -> None:
        self._sorted = order == "elevator"
        self._arrived: deque[Request] = deque()
        self._by_address: list[Request] = []

    def __len__(self) -> int:
        return len(self._arrived)

    def add(self, request: Request) -> None:
        """Let ``request`` wait."""
        self._arrived.append(request)
        insort(self._by_address, request, key=_address)

    def take(self, now: float, head: int) -> Request | None:
        """Take out the next one for a head at the address ``head``; None: nobody waits."""
        if not self._arrived:
            return None
        oldest = self._arrived[0]
        if not self._sorted or now - oldest.arrived > READ_EXPIRE_S:
            chosen = oldest
        else:
            ahead = bisect_left(self._by_address, head, key=_address)
            chosen = self._by_address[ahead % len(self._by_address)]
        self._arrived.remove(chosen)
        self._by_address.remove(chosen)
        return chosen


def _address(request: Request) -> int:
    return request.address


MINUTE_S = 60.0
MEAN_ROOT = 8 / 15
"""The mean of the root of the distance of two random points on a line of length 1."""
MEAN_DISTANCE = 1 / 3
"""The mean distance of two random points on a line of length 1."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the data sheet of a drive says. The defaults are those of a 3.5-inch 7200 rpm drive.

    Raises:
        ValueError: no drive can have these figures; the message is for people.
    """

    rpm: float = 7200.0
    settle_s: float = 0.001
    """A seek to the next track."""
    average_seek_s: float = 0.0085
    """A seek between two random places of the whole drive."""
    full_seek_s: float = 0.018
    """A seek from the first track to the last."""
    rate: float = 180e6
    """Of the medium; the outer tracks' everywhere."""
    read_ahead: int = 1 * MIB
    """How far the head reads on into the drive's buffer while nobody asks for anything else."""
    capacity: int = 0
    """The addresses that the arm spans. 0: as many as there are bytes stored, a full drive."""

    def __post_init__(self) -> None:
        """Refuse what no drive can be."""
        if min(self.rpm, self.rate) <= 0:
            raise ValueError("revolutions a minute and the transfer rate must be above 0")
        if min(self.settle_s, self.read_ahead, self.capacity) < 0:
            raise ValueError("a time or size of the drive is negative")
        if not self.settle_s <= self.average_seek_s <= self.full_seek_s:
            raise ValueError(
                "of the three seek times, settling must be the least, the full the most"
            )
        if min(self._curve()) < 0:
            raise ValueError(
                f"no seek curve has an average of {self.average_seek_s * 1e3:g} ms between "
                f"{self.settle_s * 1e3:g} ms and {self.full_seek_s * 1e3:g} ms: it must be between "
                "a third and about half of the way"
            )

    @property
    def turn_s(self) -> float:
        """A revolution."""
        return MINUTE_S / self.rpm

    @property
    def track(self) -> float:
        """Bytes on a track."""
        return self.rate * self.turn_s

    def seek_s(self, distance: float, capacity: float) -> float:
        """How long the arm takes over ``distance`` of ``capacity``; nothing within a track."""
        if distance < self.track:
            return 0.0
        part = min(distance / capacity, 1.0)
        root, linear = self._curve()
        return self.settle_s + root * math.sqrt(part) + linear * part

    def angle(self, now: float) -> float:
        """Where the platter is at ``now``, in parts of a revolution."""
        return now / self.turn_s % 1.0

    def _curve(self) -> tuple[float, float]:
        """The factors of the root and of the distance, from the average and the full seek."""
        full, average = (t - self.settle_s for t in (self.full_seek_s, self.average_seek_s))
        root = (average - MEAN_DISTANCE * full) / (MEAN_ROOT - MEAN_DISTANCE)
        return root, full - root


class Cost(NamedTuple):
    """What the head did for one access."""

    seek: float
    rotation: float
    transfer: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.seek + self.rotation + self.transfer


class Drive:
    """Arm and platter: where the head is, and what the next access costs it."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._end = 0  # of the last access
        self._head = 0.0  # how far the head had read by itself ...
        self._at = 0.0  # ... at this time

    def access(self, now: float, address: int, length: int, capacity: float) -> Cost:
        """Move the head over ``length`` bytes at ``address``, beginning at ``now``."""
        reached = self._reached(now)
        if self._end <= address <= self._end + self.geometry.read_ahead:
            missing = max(0.0, address + length - reached)
            cost = Cost(0.0, 0.0, missing / self.geometry.rate)
            self._head = max(reached, address + length)
        else:
            cost = self._position(now, address - reached, address, length, capacity)
            self._head = address + length
        self._end, self._at = address + length, now + cost.total
        return cost

    def _reached(self, now: float) -> float:
        """How far the head has read on while nobody asked, at most to the end of its buffer."""
        further = self._head + (now - self._at) * self.geometry.rate
        return max(self._head, min(further, self._end + self.geometry.read_ahead))

    def _position(
        self, now: float, distance: float, address: int, length: int, capacity: float
    ) -> Cost:
        seek = self.geometry.seek_s(abs(distance), capacity)
        wanted = address % self.geometry.track / self.geometry.track
        turns = (wanted - self.geometry.angle(now + seek)) % 1.0
        return Cost(seek, turns * self.geometry.turn_s, length / self.geometry.rate)


@dataclass(slots=True)
class Counters:
    """What the head has done so far; times in seconds."""

    reads: int = 0
    sequential: int = 0
    """Reads that needed neither seek nor rotation."""
    read_bytes: int = 0
    written_bytes: int = 0
    seek_s: float = 0.0
    rotation_s: float = 0.0
    transfer_s: float = 0.0
    queue_s: float = 0.0
    """What all waited for those before them."""
    deepest: int = 0
    """The most that waited at a time."""

    def add(self, request: Request, cost: Cost, begin: float) -> None:
        """Count one request."""
        if request.writes:
            self.written_bytes += request.length
        else:
            self.reads += 1
            self.sequential += not (cost.seek or cost.rotation)
            self.read_bytes += request.length
        self.seek_s += cost.seek
        self.rotation_s += cost.rotation
        self.transfer_s += cost.transfer
        self.queue_s += begin - request.arrived


class Turn(NamedTuple):
    """A request whose turn it is, and when it will be done."""

    request: Request
    done_at: float


class SimulatedDisk:
    """A drive and the queue before it: requests go in, and come out with the time of their end.

    A write goes into the drive's write-back cache: it takes the head for its transfer, and leaves
    it where it is. ``scale`` multiplies every delay; at 0 the drive is infinitely fast, and still
    counts.
    """

    def __init__(self, geometry: Geometry, order: Order = "elevator", scale: float = 1.0) -> None:
        self.geometry = geometry
        self.order = order
        self.scale = scale
        self.counters = Counters()
        self._drive = Drive(geometry)
        self._queue = Queue(order)
        self._free_at = 0.0
        self._end = 0

    def read(self, now: float, address: int, length: int) -> Request:
        """Take a read in at ``now``."""
        return self._enqueue(Request(address, length, now))

    def write(self, now: float, length: int) -> Request:
        """Take a write in at ``now``."""
        return self._enqueue(Request(self._end, length, now, writes=True))

    def next(self, now: float, stored: int) -> Turn | None:
        """Whose turn it is, with ``stored`` bytes of addresses in use; None: nobody waits.

        Call it when the request before is done, and only then. Each begins when the head is
        free, not when its caller noticed that: a late wake-up delays one, and not all behind it.
        """
        request = self._queue.take(now, self._end)
        if request is None:
            return None
        begin = max(self._free_at, request.arrived)
        cost = self._cost(begin, request, stored)
        self.counters.add(request, cost, begin)
        self._free_at = begin + cost.total * self.scale
        return Turn(request, self._free_at)

    def _enqueue(self, request: Request) -> Request:
        self._queue.add(request)
        self.counters.deepest = max(self.counters.deepest, len(self._queue))
        return request

    def _cost(self, begin: float, request: Request, stored: int) -> Cost:
        if request.writes:
            return Cost(0.0, 0.0, request.length / self.geometry.rate)
        self._end = request.address + request.length
        capacity = self.geometry.capacity or max(stored, 1)
        return self._drive.access(begin, request.address, request.length, capacity)


def assumptions(disk: SimulatedDisk) -> list[str]:
    """What is simulated, each parameter with its value, in lines for people."""
    drive = disk.geometry
    capacity = format_size(drive.capacity) if drive.capacity else "as much as is stored: it is full"
    turn = f"{drive.turn_s * 1e3:.2f} ms a turn, {drive.turn_s * 500:.2f} ms mean latency"
    seeks = (drive.settle_s, drive.average_seek_s, drive.full_seek_s)
    settle, average, full = (f"{seek * 1e3:g} ms" for seek in seeks)
    facts = {
        "rotation": f"{drive.rpm:g} rpm, {turn}",
        "seek": f"{settle} to the next track, {average} on average, {full} over the full stroke",
        "transfer": f"{drive.rate / 1e6:g} MB/s on every track",
        "capacity": capacity,
        "read-ahead": f"{format_size(drive.read_ahead)}, read by the idle head into its buffer",
        "queue": _ORDERS[disk.order],
        "layout": "each file in one piece, in the order of the first write",
        "names": "directories and inodes are free of cost, as if memory held them all",
        "writes": "at the transfer rate into the drive's cache; syncs are free of cost",
    }
    if disk.scale != 1:
        facts["scale"] = f"every delay is multiplied by {disk.scale:g}"
    return [f"{name:<11} {value}" for name, value in facts.items()]


_ORDERS: Final[dict[Order, str]] = {
    "elevator": "one head, served by address upwards as mq-deadline of Linux does",
    "fifo": "one head, first come, first served",
}
