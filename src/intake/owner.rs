//! Which local user owns the other end of a loopback connection, for `allow_users`.
//!
//! The kernel lists every TCP socket with its owner in /proc/self/net/tcp and tcp6 (/proc/net, a link to these, is not
//! there under the unit's `ProcSubset=pid`). The client's own socket is the one whose
//! local and remote address are ours the other way round. A socket whose program is already gone is listed with inode 0
//! and uid 0: that is nobody, and never root.
//!
//! Guarantees: an answer is the user who owned the socket when it was asked; without one there is no owner. A local
//! attacker can close its socket early, and is nobody then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The uid that owns the client's end of the connection from `client` to `server`, both on this machine.
pub fn of(client: SocketAddr, server: SocketAddr) -> Option<u32> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| in_table(&table, client, server))
}

fn in_table(table: &str, client: SocketAddr, server: SocketAddr) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, remote, uid, inode) = (fields.get(1)?, fields.get(2)?, fields.get(7)?, fields.get(9)?);
        let is_it = address(local)? == canonical(client) && address(remote)? == canonical(server);
        (is_it && *inode != "0").then(|| uid.parse().ok())?
    })
}

/// An IPv4 client of an IPv6 socket shows as `::ffff:a.b.c.d` on one side only.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// `0100007F:0019`: each 32-bit word in the machine's own octet order, then the port.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (words, port) = text.split_once(':')?;
    let octets: Vec<u8> = words
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<Vec<_>>>()?
        .concat();
    let ip = match octets.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
        _ => return None,
    };
    Some((ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_table_is_read_as_the_kernel_writes_it() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:0019 0100007F:9C40 01 00000000:00000000 00:00000000 00000000   105        0 111 1\n   \
             1: 0100007F:9C40 0100007F:0019 01 00000000:00000000 00:00000000 00000000  1000        0 222 1\n   \
             2: 0100007F:9C41 0100007F:0019 06 00000000:00000000 00:00000000 00000000     0        0 0 1\n";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(in_table(table, at(40_000), at(25)), Some(1000));
        assert_eq!(in_table(table, at(40_001), at(25)), None, "a client that is gone is nobody");
        assert_eq!(in_table(table, at(40_002), at(25)), None);
    }

    #[test]
    fn a_real_connection_belongs_to_this_process_in_both_families() {
        use std::os::unix::fs::MetadataExt;
        let own = std::fs::metadata("/proc/self").expect("proc").uid();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
            let (ours, theirs) = (client.peer_addr().expect("peer"), client.local_addr().expect("local"));
            assert_eq!(of(theirs, ours), Some(own), "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_table_panics(table in "[0-9A-Fa-f: \n]{0,300}") {
            let at = SocketAddr::from(([127, 0, 0, 1], 25));
            let _ = in_table(&format!("head\n{table}"), at, at);
        }
    }
}
