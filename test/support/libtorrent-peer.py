"""A libtorrent peer for tests. Told what to do by one JSON argument; answers each line on standard input with a line of
JSON about its torrent; ends when standard input does."""

import json
import sys
import libtorrent as lt

told = json.loads(sys.argv[1])
settings = {
    "listen_interfaces": told["listen"],
    "outgoing_interfaces": told["listen"].rsplit(":", 1)[0].strip("[]"),
    "enable_dht": bool(told.get("dht")),
    "enable_lsd": bool(told.get("lsd")),
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "unchoke_slots_limit": -1,
    "max_allowed_in_request_queue": 2000,
    "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.status_notification,
    "dht_bootstrap_nodes": "",
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_prefer_verified_node_ids": False,
}
settings.update(told.get("settings", {}))
session = lt.session(settings)
if told.get("dht"):
    for node in told.get("nodes", []):
        session.add_dht_node((node[0], node[1]))

params = lt.add_torrent_params()
if told.get("magnet"):
    params = lt.parse_magnet_uri(told["magnet"])
else:
    params.ti = lt.torrent_info(told["torrent"])
params.save_path = told["folder"]
flags = lt.torrent_flags
params.flags &= ~flags.auto_managed
params.flags &= ~flags.paused
if told.get("seed"):
    params.flags |= flags.seed_mode
handle = session.add_torrent(params)
for peer in told.get("peers", []):
    handle.connect_peer((peer[0], peer[1]))


def say(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


for _ in range(200):
    if session.listen_port() != 0:
        break
    session.wait_for_alert(50)
    session.pop_alerts()
say({"port": session.listen_port()})

for line in sys.stdin:
    command = json.loads(line)
    if "connect" in command:
        handle.connect_peer((command["connect"][0], command["connect"][1]))
    session.pop_alerts()
    status = handle.status()
    say(
        {
            "state": str(status.state),
            "pieces": sum(1 for piece in status.pieces if piece),
            "total": len(status.pieces),
            "uploaded": status.total_payload_upload,
            "downloaded": status.total_payload_download,
            "failedBytes": status.total_failed_bytes,
            "metadata": status.has_metadata,
            "peers": [
                {"address": "%s:%d" % p.ip, "client": p.client.decode("utf8", "replace"), "pieces": sum(1 for x in p.pieces if x)}
                for p in handle.get_peer_info()
            ],
            "dhtNodes": session.status().dht_nodes if told.get("dht") else 0,
        }
    )
