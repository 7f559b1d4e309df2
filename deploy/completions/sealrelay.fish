# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sealrelay_global_optspecs
    string join \n config= h/help V/version
end

function __fish_sealrelay_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sealrelay_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sealrelay_using_subcommand
    set -l cmd (__fish_sealrelay_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sealrelay -n "__fish_sealrelay_needs_command" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_needs_command" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -s V -l version -d 'Print version'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "run" -d 'Run the relay until it is told to end (SIGTERM)'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "check" -d 'Go the way to the relay host as delivery would, and tell the truth about it'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "config" -d 'Look at the configuration'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "route" -d 'Try who gets what'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "queue" -d 'Look at and move what lies in the spool'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "keys" -d 'Look at certificates, and at the relay\'s own key'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "status" -d 'Tell how the relay is and what to do: what came, went and waits, each relay host, each recipient'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "log" -d 'List what became of the last messages: time, queue id, size class, recipient, state, reply'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "heartbeat" -d 'Send every recipient a heartbeat now: how the relay is, and what became of every number'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "alarm" -d 'Try what tells somebody, beside mail, how the relay is'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "verify" -d 'Check on the recipient\'s machine that all messages came, and came from the relay'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "import" -d 'Make a configuration from that of Postfix, of OSSEC or Wazuh, or of SecureDrop, and print it'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "demo" -d 'Show the whole way of an alert with throw-away keys on this machine; needs no configuration'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "sendmail" -d 'Takes a mail on standard input and hands it to the running daemon; takes sendmail\'s options'
complete -c sealrelay -n "__fish_sealrelay_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand run" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand run" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l host -d 'A relay host to look at in place of the configured one; no configuration is read then' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l port -d 'Its port' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l tls -d 'When TLS begins: at once is the default on port 465' -r -f -a "starttls\t''
implicit\t''"
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l connect -d 'As openssl\'s: host and port together; TLS begins at once, unless --starttls smtp is given' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l starttls -d 'As openssl\'s: TLS begins after STARTTLS' -r -f -a "smtp\t''"
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l ca-file -d 'Trust only the certificates in this file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l ca-path -d 'Trust only the certificates in this directory (and in --ca-file)' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l pin -d 'Trust only this certificate or key (sha256:, sha1:, spki-sha256:); may be given several times' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l servername -d 'Send this name to the server, and verify it, in place of the host\'s' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l verify-hostname -d 'Verify this name in place of the host\'s' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l proxy -d 'Go through this SOCKS5 proxy, which looks up the name' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l username -d 'The login, where no configuration has one' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l password-file -d 'The file with its password' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l showcerts -d 'Print the certificates themselves too'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l login -d 'Log in too'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l rcpt -d 'Ask whether sender and recipients are taken; nothing is sent'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l send-test -d 'Send a marked alert the whole way, through the running daemon, and tell what the relay host said'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l all-relays -d 'Look at every configured relay host'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and not __fish_seen_subcommand_from check show init reload help" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and not __fish_seen_subcommand_from check show init reload help" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and not __fish_seen_subcommand_from check show init reload help" -f -a "check" -d 'Say whether `run` would start with it: exit code 0, or 78 with what is wrong, where, and what to do'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and not __fish_seen_subcommand_from check show init reload help" -f -a "show" -d 'Print every setting that is in force, and where its value comes from: a line of the file, a variable, or the default. What a file of secrets holds is not shown. Exit code 0, or what `config check` gives'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and not __fish_seen_subcommand_from check show init reload help" -f -a "init" -d 'Make a first configuration: certificate, recipient, relay host, login and trust are asked for, or given as options; the certificate is linted, and the way to the relay host is tried'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and not __fish_seen_subcommand_from check show init reload help" -f -a "reload" -d 'Have the daemon take the configuration as it is now, and the certificates it names: all of it or nothing. Exit code 0, 69 if no daemon runs, or what `config check` gives, with what is wrong and what to do'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and not __fish_seen_subcommand_from check show init reload help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l certificate -d 'The file with the OpenPGP certificate (public key) of who gets the alerts; it is copied' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l fingerprint -d 'Its full fingerprint: 40 hex digits (64 for version 6), with or without blanks' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l recipient -d 'Who gets the alerts' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l relay -d 'The relay host' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l port -d 'Its port, 587 unless given; TLS begins at once at 465' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l username -d 'The login there' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l domain -d 'What belongs to the login behind an @' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l password-file -d 'The file with the password, alone; it is copied' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l sender -d 'The address alerts come from; the login unless given' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l ca-file -d 'Trust only the authorities in this file, in place of the system\'s; it is copied' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l pin -d 'Trust only this certificate or key (sha256:, sha1:, spki-sha256:); may be given several times' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l no-login -d 'The relay host wants no login'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l password-stdin -d 'Read the password from standard input, one line'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l yes -d 'Ask nothing: take what is given, and the usual for the rest'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l no-check -d 'Do not try the way to the relay host'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -l send-test -d 'Send a test alert at the end; the daemon must be running'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from reload" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from reload" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Say whether `run` would start with it: exit code 0, or 78 with what is wrong, where, and what to do'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print every setting that is in force, and where its value comes from: a line of the file, a variable, or the default. What a file of secrets holds is not shown. Exit code 0, or what `config check` gives'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "init" -d 'Make a first configuration: certificate, recipient, relay host, login and trust are asked for, or given as options; the certificate is linted, and the way to the relay host is tried'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "reload" -d 'Have the daemon take the configuration as it is now, and the certificates it names: all of it or nothing. Exit code 0, 69 if no daemon runs, or what `config check` gives, with what is wrong and what to do'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and not __fish_seen_subcommand_from test help" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and not __fish_seen_subcommand_from test help" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and not __fish_seen_subcommand_from test help" -f -a "test" -d 'Say who would get a mail or an alert, which of its alerts, in what format and size, and by which condition; nothing is sent. Exit code 0, 65 if it is too large, 66 if it cannot be read, 78 configuration'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and not __fish_seen_subcommand_from test help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and __fish_seen_subcommand_from test" -l to -d 'An envelope address it is for, as in RCPT TO; may be given several times. Default: one that nobody claims' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and __fish_seen_subcommand_from test" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and __fish_seen_subcommand_from test" -l explain -d 'Name who gets nothing too, and every condition that does not hold'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and __fish_seen_subcommand_from test" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and __fish_seen_subcommand_from help" -f -a "test" -d 'Say who would get a mail or an alert, which of its alerts, in what format and size, and by which condition; nothing is sent. Exit code 0, 65 if it is too large, 66 if it cannot be read, 78 configuration'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand route; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "list" -d 'List what lies in the spool, in the layout of Postfix\'s mailq'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "show" -d 'Show one message: envelope, attempts, last reply'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "flush" -d 'Try to send everything now, or one message'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "hold" -d 'Keep what waits from being sent, until it is released'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "release" -d 'Send what was held'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "retry" -d 'Send what lies in failed/; its lifetime begins again'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "remove" -d 'Remove messages for good, wherever they lie; their numbers are remembered as removed'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "purge" -d 'Remove all messages sealed to a certificate whose key is compromised'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and not __fish_seen_subcommand_from list show flush hold release retry remove purge help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from list" -l json -d 'One JSON object a line'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from show" -l message -d 'Print the sealed message instead, octet by octet'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from flush" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from flush" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from hold" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from hold" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from release" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from release" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from retry" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from remove" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from remove" -l yes -d 'Do not ask'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from purge" -l fingerprint -d 'Its full fingerprint' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from purge" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from purge" -l yes -d 'Do not ask'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from purge" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "list" -d 'List what lies in the spool, in the layout of Postfix\'s mailq'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show one message: envelope, attempts, last reply'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "flush" -d 'Try to send everything now, or one message'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "hold" -d 'Keep what waits from being sent, until it is released'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "release" -d 'Send what was held'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "retry" -d 'Send what lies in failed/; its lifetime begins again'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove messages for good, wherever they lie; their numbers are remembered as removed'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "purge" -d 'Remove all messages sealed to a certificate whose key is compromised'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand queue; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and not __fish_seen_subcommand_from lint list signer help" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and not __fish_seen_subcommand_from lint list signer help" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and not __fish_seen_subcommand_from lint list signer help" -f -a "lint" -d 'Say whether alerts can be sealed to a certificate; needs no configuration'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and not __fish_seen_subcommand_from lint list signer help" -f -a "list" -d 'Show every configured certificate: whether alerts can be sealed to it, until when, and its algorithms'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and not __fish_seen_subcommand_from lint list signer help" -f -a "signer" -d 'Print the relay\'s own certificate and fingerprint, which recipients verify messages with'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and not __fish_seen_subcommand_from lint list signer help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from lint" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from lint" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from lint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from signer" -l export-backup -d 'Write the SECRET key to a new file, to be kept over a reinstall' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from signer" -l import -d 'Bring the key of such a file back; never replaces another key' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from signer" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from signer" -l rotate -d 'Make a new key: the present one goes on signing for 30 days and announces it in every message'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from signer" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from signer" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from help" -f -a "lint" -d 'Say whether alerts can be sealed to a certificate; needs no configuration'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from help" -f -a "list" -d 'Show every configured certificate: whether alerts can be sealed to it, until when, and its algorithms'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from help" -f -a "signer" -d 'Print the relay\'s own certificate and fingerprint, which recipients verify messages with'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand keys; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand status" -l watch -d 'Show it again and again, until Ctrl-C (exit code 0): in place on a terminal, else one below the other' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand status" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand status" -l json -d 'Print JSON; with --watch one object a line'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand status" -l nagios -d 'One line, performance data and exit code for Nagios, Icinga and the like'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand log" -l since -d 'How far to look back' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand log" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand log" -l json -d 'One JSON object a line'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand log" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand heartbeat" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand heartbeat" -l json -d 'Print JSON: each recipient\'s number, or null'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand heartbeat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and not __fish_seen_subcommand_from test help" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and not __fish_seen_subcommand_from test help" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and not __fish_seen_subcommand_from test help" -f -a "test" -d 'Have the daemon call the ping, the webhook and the syslog collector now, marked as a test, and say what became of each. A ping is a ping: the service behind it counts it'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and not __fish_seen_subcommand_from test help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and __fish_seen_subcommand_from test" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and __fish_seen_subcommand_from test" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and __fish_seen_subcommand_from help" -f -a "test" -d 'Have the daemon call the ping, the webhook and the syslog collector now, marked as a test, and say what became of each. A ping is a ping: the service behind it counts it'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand alarm; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand verify" -l signer -d 'The relay\'s certificate: a file, or the full fingerprint of one that gpg has. Needed once, then remembered; may be given several times' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand verify" -l state -d 'Where to remember [default: $XDG_STATE_HOME/sealrelay/verify.json]' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand verify" -l gpg -d 'The gpg to decrypt with' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand verify" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand verify" -l acknowledge -d 'Take what is missing, late or forged as looked into: later runs are silent about it'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand verify" -l json -d 'Print JSON'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and not __fish_seen_subcommand_from postfix ossec securedrop help" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and not __fish_seen_subcommand_from postfix ossec securedrop help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and not __fish_seen_subcommand_from postfix ossec securedrop help" -f -a "postfix" -d 'From Postfix'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and not __fish_seen_subcommand_from postfix ossec securedrop help" -f -a "ossec" -d 'From the ossec.conf of OSSEC or Wazuh'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and not __fish_seen_subcommand_from postfix ossec securedrop help" -f -a "securedrop" -d 'From SecureDrop\'s site-specific'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and not __fish_seen_subcommand_from postfix ossec securedrop help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from postfix" -l ossec -d 'The ossec.conf of the IDS behind which it stands: it says who gets the alerts' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from postfix" -l recipient -d 'Who gets the alerts, in place of what was found' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from postfix" -l certificate -d 'The file with the recipient\'s OpenPGP certificate' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from postfix" -l fingerprint -d 'Its fingerprint' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from postfix" -l write -d 'Write the configuration to a new file, in place of printing it' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from postfix" -l password-file -d 'Write the password that was found to a new file of mode 0400' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from postfix" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from postfix" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from ossec" -l recipient -d 'Who gets the alerts, in place of what was found' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from ossec" -l certificate -d 'The file with the recipient\'s OpenPGP certificate' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from ossec" -l fingerprint -d 'Its fingerprint' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from ossec" -l write -d 'Write the configuration to a new file, in place of printing it' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from ossec" -l password-file -d 'Write the password that was found to a new file of mode 0400' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from ossec" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from ossec" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from securedrop" -l recipient -d 'Who gets the alerts, in place of what was found' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from securedrop" -l certificate -d 'The file with the recipient\'s OpenPGP certificate' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from securedrop" -l fingerprint -d 'Its fingerprint' -r
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from securedrop" -l write -d 'Write the configuration to a new file, in place of printing it' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from securedrop" -l password-file -d 'Write the password that was found to a new file of mode 0400' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from securedrop" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from securedrop" -s h -l help -d 'Print help'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from help" -f -a "postfix" -d 'From Postfix'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from help" -f -a "ossec" -d 'From the ossec.conf of OSSEC or Wazuh'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from help" -f -a "securedrop" -d 'From SecureDrop\'s site-specific'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand import; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand demo" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand demo" -l keep -d 'Keep the folder with keys, configuration and spool'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand sendmail" -l config -d 'The configuration file' -r -F
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "run" -d 'Run the relay until it is told to end (SIGTERM)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "check" -d 'Go the way to the relay host as delivery would, and tell the truth about it'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "config" -d 'Look at the configuration'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "route" -d 'Try who gets what'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "queue" -d 'Look at and move what lies in the spool'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "keys" -d 'Look at certificates, and at the relay\'s own key'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "status" -d 'Tell how the relay is and what to do: what came, went and waits, each relay host, each recipient'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "log" -d 'List what became of the last messages: time, queue id, size class, recipient, state, reply'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "heartbeat" -d 'Send every recipient a heartbeat now: how the relay is, and what became of every number'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "alarm" -d 'Try what tells somebody, beside mail, how the relay is'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "verify" -d 'Check on the recipient\'s machine that all messages came, and came from the relay'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "import" -d 'Make a configuration from that of Postfix, of OSSEC or Wazuh, or of SecureDrop, and print it'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "demo" -d 'Show the whole way of an alert with throw-away keys on this machine; needs no configuration'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "sendmail" -d 'Takes a mail on standard input and hands it to the running daemon; takes sendmail\'s options'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and not __fish_seen_subcommand_from run check config route queue keys status log heartbeat alarm verify import demo sendmail help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Say whether `run` would start with it: exit code 0, or 78 with what is wrong, where, and what to do'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print every setting that is in force, and where its value comes from: a line of the file, a variable, or the default. What a file of secrets holds is not shown. Exit code 0, or what `config check` gives'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "init" -d 'Make a first configuration: certificate, recipient, relay host, login and trust are asked for, or given as options; the certificate is linted, and the way to the relay host is tried'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "reload" -d 'Have the daemon take the configuration as it is now, and the certificates it names: all of it or nothing. Exit code 0, 69 if no daemon runs, or what `config check` gives, with what is wrong and what to do'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from route" -f -a "test" -d 'Say who would get a mail or an alert, which of its alerts, in what format and size, and by which condition; nothing is sent. Exit code 0, 65 if it is too large, 66 if it cannot be read, 78 configuration'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "list" -d 'List what lies in the spool, in the layout of Postfix\'s mailq'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "show" -d 'Show one message: envelope, attempts, last reply'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "flush" -d 'Try to send everything now, or one message'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "hold" -d 'Keep what waits from being sent, until it is released'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "release" -d 'Send what was held'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "retry" -d 'Send what lies in failed/; its lifetime begins again'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "remove" -d 'Remove messages for good, wherever they lie; their numbers are remembered as removed'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from queue" -f -a "purge" -d 'Remove all messages sealed to a certificate whose key is compromised'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from keys" -f -a "lint" -d 'Say whether alerts can be sealed to a certificate; needs no configuration'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from keys" -f -a "list" -d 'Show every configured certificate: whether alerts can be sealed to it, until when, and its algorithms'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from keys" -f -a "signer" -d 'Print the relay\'s own certificate and fingerprint, which recipients verify messages with'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from alarm" -f -a "test" -d 'Have the daemon call the ping, the webhook and the syslog collector now, marked as a test, and say what became of each. A ping is a ping: the service behind it counts it'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from import" -f -a "postfix" -d 'From Postfix'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from import" -f -a "ossec" -d 'From the ossec.conf of OSSEC or Wazuh'
complete -c sealrelay -n "__fish_sealrelay_using_subcommand help; and __fish_seen_subcommand_from import" -f -a "securedrop" -d 'From SecureDrop\'s site-specific'
