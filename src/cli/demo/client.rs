//! The IDS of the demo: sends the Wazuh page's sample alert in OSSEC's own dialect.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::relay_host::RelayHost;

/// Words of the alert that must be nowhere but in the recipient's hands.
pub const MARKERS: [&str; 3] = ["192.168.1.37", "User login failed", "pam_unix"];

/// The sample alert of the Wazuh page, as the IDS's client writes it.
const ALERT: &str = "To: <root@localhost>\r\n\
From: OSSEC HIDS <ossec@localhost>\r\n\
Date: Wed, 08 Mar 2017 17:03:05 +0000\r\n\
Subject: OSSEC Notification - localhost - Alert level 5\r\n\
\r\n\
\r\n\
Wazuh Notification.\r\n\
2017 Mar 08 17:03:05\r\n\
\r\n\
Received From: localhost->/var/log/secure\r\n\
Rule: 5503 fired (level 5) -> \"PAM: User login failed.\"\r\n\
Src IP: 192.168.1.37\r\n\
Portion of the log(s):\r\n\
\r\n\
Mar  8 17:03:04 localhost sshd[67231]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.168.1.37\r\n\
uid: 0\r\n\
euid: 0\r\n\
tty: ssh\r\n\
\r\n\
\r\n\
 --END OF NOTIFICATION\r\n\
\r\n\
\r\n\
\r\n\
.\r\n";

/// Sends the alert to `address`; what was said by either side.
pub fn send(address: &str, relay_host: &RelayHost) -> io::Result<Vec<String>> {
    // Until the spool has been shown, the relay host keeps everybody waiting.
    relay_host.hold();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut lines = vec![format!("< {}", reply(&mut stream)?)];
    for command in
        ["Helo notify.ossec.net", "Mail From: <ossec@localhost>", "Rcpt To: <root@localhost>", "DATA", ALERT, "QUIT"]
    {
        let end = if command == ALERT { "" } else { "\r\n" };
        stream.write_all(format!("{command}{end}").as_bytes())?;
        lines.extend(command.lines().map(|line| format!("> {line}")));
        lines.push(format!("< {}", reply(&mut stream)?));
    }
    Ok(lines)
}

/// What one read returns: OSSEC does no more.
fn reply(stream: &mut TcpStream) -> io::Result<String> {
    let mut octets = [0; 1023];
    let count = stream.read(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets[..count]).trim_end().to_owned())
}
