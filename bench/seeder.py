"""The benchmark's BitTorrent seeder. Makes a torrent of one file with one piece length and tracker, says so, seeds it when
told `seed`, and answers each further line with the bytes of payload that it has sent. Ends when standard input does."""

import fcntl
import json
import os
import socket
import struct
import sys

import libtorrent as lt

told = json.loads(sys.argv[1])


def say(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def raise_loopback():
    """A new network namespace has its loopback interface down (SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP; netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(some, 0x8913, request))[1]
        fcntl.ioctl(some, 0x8914, struct.pack("16sh22x", b"lo", flags | 1))


if told["ownNetwork"]:
    raise_loopback()

folder, name = os.path.split(told["file"])
files = lt.file_storage()
lt.add_files(files, told["file"])
made = lt.create_torrent(files, piece_size=told["pieceLength"], flags=lt.create_torrent.v1_only)
made.add_tracker(told["tracker"])
# No client looks for further peers of a private torrent by DHT, PEX or LSD (BEP 27).
made.set_priv(True)
lt.set_piece_hashes(made, folder)
with open(told["torrent"], "wb") as out:
    out.write(lt.bencode(made.generate()))
say({"made": True})

sys.stdin.readline()
session = lt.session(
    {
        "listen_interfaces": told["listen"],
        "outgoing_interfaces": told["listen"].split(":")[0],
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "unchoke_slots_limit": -1,
        "max_allowed_in_request_queue": 2000,
        "alert_mask": lt.alert.category_t.tracker_notification | lt.alert.category_t.error_notification,
    }
)
params = lt.add_torrent_params()
params.ti = lt.torrent_info(told["torrent"])
params.save_path = folder
params.flags &= ~lt.torrent_flags.auto_managed
params.flags &= ~lt.torrent_flags.paused
params.flags |= lt.torrent_flags.seed_mode
handle = session.add_torrent(params)

# Seeding has begun when the tracker knows of it, so that whoever asks it from then on finds us.
announced = False
for _ in range(100):
    session.wait_for_alert(100)
    announced = announced or any(isinstance(one, lt.tracker_reply_alert) for one in session.pop_alerts())
    if announced:
        break
say({"seeding": announced, "port": session.listen_port()})

for line in sys.stdin:
    session.pop_alerts()
    say({"sent": handle.status().total_payload_upload})
