//! Numbers within bounds.

use s2s_model::OutOfBounds;
use serde::{Deserialize, Serialize};

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $accepts:expr, $bounds:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(pub(super) f64);

        impl $name {
            /// The plain number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfBounds;

            fn try_from(value: f64) -> Result<Self, OutOfBounds> {
                let accepts: fn(f64) -> bool = $accepts;
                if accepts(value) {
                    Ok(Self(value))
                } else {
                    Err(OutOfBounds {
                        rule: concat!("must ", $bounds),
                        value,
                    })
                }
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}

bounded!(
    /// A finite number above 0.
    Positive, |x| x > 0.0 && x.is_finite(), "be a finite number above 0"
);
bounded!(
    /// A finite number above 1.
    AboveOne, |x| x > 1.0 && x.is_finite(), "be a finite number above 1"
);
bounded!(
    /// A finite number that is not negative.
    NonNegative, |x| x >= 0.0 && x.is_finite(), "be a finite number, 0 or above"
);
bounded!(
    /// A number in `[0, 1]`.
    Share, |x| (0.0..=1.0).contains(&x), "lie in [0, 1]"
);
