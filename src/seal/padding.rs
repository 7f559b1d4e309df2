//! Size classes: a relay host sees one of a few sizes, not how long an alert was.
//!
//! A class is the size of the finished message. The filler is blanks behind the last boundary of the protected MIME
//! entity (its epilogue, which no mail program shows), so it works with every reader and needs no OpenPGP padding.
//! Armor grows in steps of 3 octets to 4 characters, so all messages of one class to one recipient have the same size:
//! the largest that can be made within the class, at most 5 octets below it.
//!
//! OpenPGP integers drop leading zeros (RFC 9580 3.2), so one sealing in about 100 comes out an octet short: sealing is
//! repeated until the size is exact. If it never is, the message goes out all the same: a size tells less than silence.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const KIB: usize = 1024;
/// The classes below the multiples of the last one.
const CLASSES: [usize; 5] = [16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB];
/// Sealings before an inexact size is let go. One in about 100 is short, so this many in a row never are.
const TRIES: usize = 24;

/// What was learnt about how much sealing adds, for one recipient, class by class.
#[derive(Default)]
pub struct Padding {
    learnt: Mutex<HashMap<usize, Growth>>,
}

/// How a text of a class grows.
#[derive(Clone, Copy)]
struct Growth {
    /// Octets OpenPGP adds to the text, no zeros dropped.
    openpgp: usize,
    /// Octets around the armored lines.
    around: usize,
}

/// A guess, corrected by the first sealing.
const GUESS: Growth = Growth { openpgp: 800, around: 900 };

/// A finished message, and its OpenPGP octets before armoring.
type Finished = (Vec<u8>, usize);

/// The smallest class that holds `size` octets.
pub fn class_of(size: usize) -> usize {
    let last = CLASSES[CLASSES.len() - 1];
    CLASSES.into_iter().find(|class| size <= *class).unwrap_or_else(|| size.div_ceil(last) * last)
}

impl Padding {
    /// Calls `seal` with `text` and filler until the finished message has its class's size.
    ///
    /// # Errors
    /// Those of `seal`.
    pub fn fill<E>(
        &self,
        text: &mut Vec<u8>,
        mut seal: impl FnMut(&[u8]) -> Result<Finished, E>,
    ) -> Result<Vec<u8>, E> {
        let bare = text.len();
        let mut class = class_of(armored(bare));
        let mut finished = Vec::new();
        for _ in 0..TRIES {
            // A message that is not exact goes before the next one is made: large ones must not be in memory twice.
            finished.clear();
            finished.shrink_to_fit();
            let (known, growth, target) = loop {
                let known = self.known(class);
                let growth = known.unwrap_or(GUESS);
                let target = longest(class.saturating_sub(growth.around));
                if target >= bare + growth.openpgp {
                    break (known, growth, target);
                }
                class = class_of(class + 1);
            };
            text.truncate(bare);
            pad(text, target - growth.openpgp);
            let (message, octets) = seal(text)?;
            let (openpgp, around) = (octets - text.len(), message.len() - armored(octets));
            if octets == target && around == growth.around {
                return Ok(message);
            }
            // What is a little short has dropped a zero; much less means a guess, or a certificate that is no longer used.
            let dropped_zeros = known.is_some() && growth.openpgp.saturating_sub(openpgp) <= 16;
            let openpgp = if dropped_zeros { openpgp.max(growth.openpgp) } else { openpgp };
            self.learn(class, Growth { openpgp, around });
            finished = message;
        }
        Ok(finished)
    }

    fn known(&self, class: usize) -> Option<Growth> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).get(&class).copied()
    }

    fn learn(&self, class: usize, growth: Growth) {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).insert(class, growth);
    }
}

/// The size of `octets` in armored lines of 64 characters and CRLF (RFC 9580 6.2).
fn armored(octets: usize) -> usize {
    let characters = octets.div_ceil(3) * 4;
    characters + characters.div_ceil(64) * 2
}

/// The most octets whose armored lines fit into `size`.
fn longest(size: usize) -> usize {
    let mut octets = size / 66 * 48;
    while armored(octets + 1) <= size {
        octets += 1;
    }
    octets
}

/// Fills up to `length` octets with lines of blanks.
fn pad(text: &mut Vec<u8>, length: usize) {
    const LINE: usize = 76;
    text.reserve_exact(length.saturating_sub(text.len()));
    while text.len() < length {
        let room = length - text.len();
        // A line end needs two octets and must not be cut in half.
        let blanks = if room > LINE + 2 { LINE } else { room };
        text.resize(text.len() + blanks, b' ');
        if room > LINE + 2 {
            text.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_design() {
        let class = |kib: usize| class_of(kib * KIB) / KIB;
        assert_eq!([1, 16, 17, 33, 65, 129, 256, 257, 600].map(class), [16, 16, 32, 64, 128, 256, 256, 512, 768]);
    }

    #[test]
    fn every_text_of_a_class_comes_out_at_one_size() {
        let padding = Padding::default();
        let mut calls = 0_usize;
        // 400 octets of OpenPGP, 700 around, and a zero dropped in every seventh sealing.
        let mut seal = |text: &[u8]| {
            calls += 1;
            let octets = text.len() + 400 - usize::from(calls.is_multiple_of(7));
            Ok::<_, ()>((vec![b'x'; 700 + armored(octets)], octets))
        };
        let sizes: std::collections::BTreeSet<usize> =
            (0..200).map(|nth| padding.fill(&mut vec![b'a'; nth * 50], &mut seal).expect("sealed").len()).collect();
        assert_eq!(sizes.len(), 1, "{sizes:?}");
        let size = sizes.into_iter().next().expect("one");
        assert!((16 * KIB - 5..=16 * KIB).contains(&size), "{size}");
    }
}
