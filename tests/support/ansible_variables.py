#!/usr/bin/env python3
"""Says whether the role's specifications, defaults, templates and README agree with each other and with every key that the
sample configuration lists. With --write, writes the README's table anew. Needs PyYAML (target/ansible/venv has it)."""
import re
import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
ROLE = PROJECT / "deploy/ansible/roles/sealrelay"
README = ROLE / "README.md"
BEGIN, END = "<!-- variables: made by tests/support/ansible_variables.py --write -->", "<!-- end of variables -->"
# Files of the configuration that the role writes from a value.
VALUES = {"password_file": "password", "proxy_password_file": "proxy_password",
          "client_secret_file": "client_secret", "refresh_token_file": "refresh_token"}
GUIDE = 14

specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
internals = yaml.safe_load((ROLE / "vars/main.yml").read_text())
troubles = []


def expect(holds, words):
    if not holds:
        troubles.append(words)


def sample_keys():
    """The keys of deploy/sealrelay.toml, commented out or not, by section."""
    section, keys = None, {}
    for line in (PROJECT / "deploy/sealrelay.toml").read_text().splitlines():
        if header := re.match(r"(?:#   )?\[+([a-z.]+)\]+$", line):
            section = header[1]
        elif key := re.match(r"(?:# |#   )?([a-z_]+) = ", line):
            keys.setdefault(section, set()).add(key[1])
    return keys


def in_words(text):
    text = " ".join(text) if isinstance(text, list) else text
    return re.sub(r"[COV]\((.*?)\)", r"`\1`", text).replace("|", "\\|")


def table():
    rows = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]

    def row(name, option):
        kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
        kind = ", ".join(f"`{choice}`" for choice in option["choices"]) if "choices" in option else kind
        default = option.get("default")
        default = "" if default is None else f"`{yaml.safe_dump(default, default_flow_style=True).splitlines()[0]}`"
        rows.append(f"| {name} | {kind} | {default} | {in_words(option['description'])} |")

    for name, option in specs.items():
        row(f"`{name}`", option)
        if name in ("sealrelay_more_recipients", "sealrelay_follow", "sealrelay_more_relays"):
            for key, entry in option["options"].items():
                row(f"&nbsp;&nbsp;`{key}`", entry)
                for inner, last in entry.get("options", {}).items():
                    row(f"&nbsp;&nbsp;&nbsp;&nbsp;`{inner}`", last)
    return "\n".join(rows)


own = {name: option for name, option in specs.items() if name.startswith("sealrelay_")}
expect(len(specs) - len(own) == GUIDE, f"the guide has {GUIDE} variables, the specification {len(specs) - len(own)}")
for name in sorted(set(own) ^ set(defaults)):
    troubles.append(f"{name}: stands in only one of specification and defaults")
for name in set(own) & set(defaults):
    expect(own[name].get("default") == defaults[name], f"{name}: specification and defaults differ")

keys = sample_keys()
recipient, relay, oauth = keys.pop("recipient"), keys.pop("relay"), keys.pop("relay.oauth")
fixed, flood, follow = keys.pop("recipient.fixed"), keys.pop("recipient.flood"), keys.pop("follow")
expect(len(keys) >= 8 and len(relay) > 15 and len(oauth) >= 7, "keys of the sample were lost")
for section, names in keys.items():
    there = set(internals["sealrelay__sections"].get(section, {}))
    expect(there == names, f"[{section}]: the sample and the role differ in {sorted(there ^ names)}")
for section, names, entry, option in (
    ("recipient", recipient, "sealrelay__recipient_keys", own["sealrelay_more_recipients"]["options"]),
    ("recipient.fixed", fixed, "sealrelay__fixed_keys", own["sealrelay_more_recipients"]["options"]["fixed"]["options"]),
    ("recipient.flood", flood, "sealrelay__flood_keys", own["sealrelay_more_recipients"]["options"]["flood"]["options"]),
    ("follow", follow, "sealrelay__follow_keys", own["sealrelay_follow"]["options"]),
    ("relay", relay, "sealrelay__relay_keys", own["sealrelay_more_relays"]["options"]),
    ("relay.oauth", oauth, "sealrelay__oauth_keys", own["sealrelay_more_relays"]["options"]["oauth"]["options"]),
):
    wanted = {VALUES.get(name, name) for name in names}
    there = set(internals[entry])
    expect(there == wanted, f"[[{section}]]: the sample and the role differ in {sorted(there ^ wanted)}")
    specified = set(option) - {"oauth", "fixed", "flood"}
    expect(there == specified, f"[[{section}]]: the role and its specification differ in {sorted(there ^ specified)}")

text = README.read_text()
before, _, rest = text.partition(BEGIN)
_, _, after = rest.partition(END)
fresh = f"{before}{BEGIN}\n{table()}\n{END}{after}"
if "--write" in sys.argv:
    README.write_text(fresh)
else:
    expect(text == fresh, "the README's table is not what --write makes of the specification")

for trouble in troubles:
    print(trouble, file=sys.stderr)
sys.exit(1 if troubles else 0)
