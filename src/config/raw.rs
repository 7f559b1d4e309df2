//! What the configuration file may say, key by key. Unknown keys are refused; defaults are in `validate`.

use serde::Deserialize;

/// The whole file.
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where alerts come in.
    #[serde(default)]
    pub listen: RawListen,
    /// Logs of alerts that are read as they grow.
    #[serde(default)]
    pub follow: Vec<RawFollow>,
    /// Who alerts come from, outside.
    #[serde(default)]
    pub sender: RawSender,
    /// Who gets alerts.
    #[serde(default)]
    pub recipient: Vec<RawRecipient>,
    /// What is known of alerts.
    #[serde(default)]
    pub alerts: RawAlerts,
    /// Where sealed messages go.
    #[serde(default)]
    pub relay: Vec<RawRelay>,
    /// Where sealed messages wait.
    #[serde(default)]
    pub spool: RawSpool,
    /// Where the relay's own key and its numbers are kept.
    #[serde(default)]
    pub state: RawState,
    /// What the relay tells of itself.
    #[serde(default)]
    pub heartbeat: RawHeartbeat,
    /// The local control socket.
    #[serde(default)]
    pub control: RawControl,
    /// What is logged.
    #[serde(default)]
    pub log: RawLog,
    /// Numbers for Prometheus.
    #[serde(default)]
    pub metrics: RawMetrics,
    /// Who is told, beside mail, how the relay is.
    #[serde(default)]
    pub alarm: RawAlarm,
}

/// `[listen]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawListen {
    pub addresses: Option<OneOrMore>,
    pub socket: Option<String>,
    pub networks: Option<OneOrMore>,
    pub allow_users: Option<OneOrMore>,
    pub sessions: Option<usize>,
    pub message_size: Option<Text>,
    pub memory: Option<Text>,
    pub command_timeout: Option<Text>,
    pub message_timeout: Option<Text>,
    pub early_dot_wait: Option<Text>,
}

/// `[[follow]]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawFollow {
    pub path: Option<String>,
    pub from: Option<RawFrom>,
    pub email_level: Option<u32>,
    pub alert_by_email: Option<Vec<u32>>,
    pub no_email_alert: Option<Vec<u32>>,
    pub secondary: Option<bool>,
}

/// `from`
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RawFrom {
    Start,
    End,
}

/// `[sender]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawSender {
    pub address: Option<String>,
    pub envelope: Option<String>,
    pub subject: Option<String>,
}

/// `[[recipient]]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawRecipient {
    pub address: Option<String>,
    pub certificate: Option<OneOrMore>,
    pub fingerprint: Option<OneOrMore>,
    pub default: Option<bool>,
    pub accept: Option<Vec<RawAccept>>,
    pub split: Option<bool>,
    pub fixed: Option<RawFixed>,
    pub flood: Option<RawFlood>,
    pub release: Option<RawRelease>,
    pub format: Option<RawFormat>,
    pub on_expired: Option<RawOnExpired>,
    pub seipd: Option<RawSeipd>,
}

/// `[recipient.fixed]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawFixed {
    pub subject: Option<String>,
    pub every: Option<String>,
    pub texts: Option<Vec<RawFixedText>>,
}

/// One of its `texts`.
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawFixedText {
    pub log: Option<String>,
    pub text: Option<String>,
}

/// `[recipient.flood]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawFlood {
    pub burst: Option<usize>,
    pub window: Option<Text>,
    pub urgent_level: Option<u32>,
    pub realert: Option<Text>,
}

/// `release`: a word, or slots.
#[derive(Deserialize, Debug, Clone)]
#[serde(
    untagged,
    expecting = "`release` takes \"immediate\", or { slots = \"15m\" } with size and urgent_level if wanted"
)]
pub enum RawRelease {
    Word(RawReleaseWord),
    InSlots(RawSlots),
}

/// `release` as a word.
#[derive(Deserialize, Debug, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub enum RawReleaseWord {
    Immediate,
}

/// `release` as a table.
#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawSlots {
    pub slots: Text,
    pub size: Option<Text>,
    pub urgent_level: Option<u32>,
}

/// One table of `accept`: all its keys must hold.
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawAccept {
    pub recipient: Option<String>,
    pub level: Option<u32>,
    pub rule: Option<OneOrMoreRules>,
    pub location: Option<String>,
    pub group: Option<String>,
}

/// `[alerts]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawAlerts {
    pub rules: Option<OneOrMore>,
}

/// `format`
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RawFormat {
    PgpMime,
    Inline,
}

/// `on_expired`
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RawOnExpired {
    SealAndWarn,
    Notice,
}

/// `seipd`
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RawSeipd {
    V1,
    V2,
}

/// `[[relay]]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawRelay {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub tls: Option<RawTls>,
    pub proxy: Option<String>,
    pub proxy_username: Option<String>,
    pub proxy_password_file: Option<String>,
    pub client_certificate: Option<String>,
    pub client_key: Option<String>,
    pub username: Option<String>,
    pub auth: Option<RawAuth>,
    pub password_file: Option<String>,
    pub token_file: Option<String>,
    pub oauth: Option<RawOAuth>,
    pub ca_file: Option<String>,
    pub pins: Option<OneOrMore>,
    pub ehlo: Option<String>,
    pub connections: Option<usize>,
    pub timeout: Option<Text>,
    pub messages_per_hour: Option<usize>,
    pub messages_per_day: Option<usize>,
}

/// `tls`
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RawTls {
    Starttls,
    Implicit,
}

/// `auth`
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RawAuth {
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    Plain,
    Login,
    Xoauth2,
    Oauthbearer,
}

/// `[relay.oauth]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawOAuth {
    pub token_url: Option<String>,
    pub grant: Option<RawGrant>,
    pub client_id: Option<String>,
    pub client_secret_file: Option<String>,
    pub refresh_token_file: Option<String>,
    pub scope: Option<String>,
    pub ca_file: Option<String>,
}

/// `grant`, by its name in RFC 6749
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RawGrant {
    RefreshToken,
    ClientCredentials,
}

/// `[spool]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawSpool {
    pub directory: Option<String>,
    pub lifetime: Option<Text>,
    pub quota: Option<OneOrMore>,
    pub reserve: Option<OneOrMore>,
}

/// `[state]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawState {
    pub directory: Option<String>,
}

/// `[heartbeat]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawHeartbeat {
    pub every: Option<Text>,
}

/// `[control]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawControl {
    pub socket: Option<String>,
}

/// `[log]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    pub level: Option<RawLevel>,
    pub output: Option<RawOutput>,
}

/// `[metrics]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawMetrics {
    pub textfile: Option<String>,
    pub socket: Option<String>,
    pub listen: Option<String>,
}

/// `[alarm]`
#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawAlarm {
    pub name: Option<String>,
    pub ping_url_file: Option<String>,
    pub ping_every: Option<Text>,
    pub ping_oldest: Option<Text>,
    pub webhook_url_file: Option<String>,
    pub syslog: Option<String>,
    pub settle: Option<Text>,
    pub ca_file: Option<String>,
    pub proxy: Option<String>,
    pub proxy_username: Option<String>,
    pub proxy_password_file: Option<String>,
}

/// `output`
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RawOutput {
    Auto,
    Journal,
    Syslog,
    Text,
    Json,
}

/// `level`
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RawLevel {
    Crit,
    Warning,
    Info,
    Debug,
    Trace,
}

/// A duration or a size, as text with its unit: `"300ms"`, `"16MiB"`.
pub type Text = String;

/// One text or a list of texts. A variable holds one text, in which commas separate.
#[derive(Deserialize, Debug, Clone)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    /// The texts.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Self::More(texts) => texts,
        }
    }
}

/// The number of a rule, or a list of such numbers.
#[derive(Deserialize, Debug, Clone)]
#[serde(untagged, expecting = "`rule` takes the number of a rule, or a list of numbers")]
pub enum OneOrMoreRules {
    One(u32),
    More(Vec<u32>),
}

impl OneOrMoreRules {
    /// The numbers.
    pub fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(rule) => vec![rule],
            Self::More(rules) => rules,
        }
    }
}
