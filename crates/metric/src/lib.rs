//! Declares metrics, each family in one place.
//!
//! [`families!`] defines a struct whose fields are metrics: the doc comment of a field is its HELP
//! text, and its name is the one that queries use. [`labels!`] defines enums whose variants are
//! label values. [`Sampled`] is a metric that is refreshed at each scrape. This crate knows neither
//! what is counted nor how it is served (telemetry).

mod sampled;

#[doc(hidden)]
pub use prometheus_client;
use prometheus_client::metrics::MetricType;
pub use prometheus_client::registry::Registry;
use prometheus_client::registry::{Metric, Unit};
pub use sampled::Sampled;

/// Declares a struct of metric families.
///
/// `register` registers all of them; with `default` they count without being exported, until
/// `register_in`. An initial value other than the default follows the name.
///
/// ```
/// use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
///
/// rig_metric::families! {
///     /// What the kitchen counts.
///     pub struct Metrics {
///         /// Meals that left the kitchen
///         pub meals: Counter = "kitchen_meals_total";
///         /// From the order to the meal
///         pub waited: Histogram = "kitchen_waited_seconds", Histogram::new([60.0, 600.0]);
///     }
/// }
///
/// let mut registry = rig_metric::Registry::default();
/// let metrics = Metrics::register(&mut registry);
/// metrics.meals.inc();
/// let mut text = String::new();
/// prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
/// assert!(text.starts_with("# HELP kitchen_meals Meals that left the kitchen.\n"));
/// assert!(text.contains("\nkitchen_meals_total 1\n"));
/// assert!(text.contains("\n# HELP kitchen_waited_seconds From the order to the meal.\n"));
/// ```
#[macro_export]
macro_rules! families {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $field_visibility:vis $field:ident: $metric:ty = $family:literal $(, $value:expr)?;
            )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug)]
        $visibility struct $name {
            $($(#[doc = $help])+ $field_visibility $field: $metric,)+
        }

        impl $name {
            /// Registers every family; nothing is counted yet.
            #[allow(dead_code, reason = "a room may create the families before there is a registry")]
            $visibility fn register(registry: &mut $crate::Registry) -> Self {
                let families = Self::default();
                families.register_in(registry);
                families
            }

            /// Registers these families, with what they have counted.
            $visibility fn register_in(&self, registry: &mut $crate::Registry) {
                $($crate::register(registry, $family, &[$($help),+], self.$field.clone());)+
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::families!(@value $($value)?),)+ }
            }
        }
    };
    (@value) => { Default::default() };
    (@value $value:expr) => { $value };
}

/// Declares enums whose variants are label values.
#[macro_export]
macro_rules! labels {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident { $($(#[$variant_attribute:meta])* $variant:ident = $value:literal,)+ }
    )+) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $name { $($(#[$variant_attribute])* $variant,)+ }

        impl $name {
            /// Returns the label value.
            $visibility const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $value,)+ }
            }
        }

        impl $crate::prometheus_client::encoding::EncodeLabelValue for $name {
            fn encode(
                &self,
                encoder: &mut $crate::prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> ::std::result::Result<(), ::std::fmt::Error> {
                self.as_str().encode(encoder)
            }
        }
    )+};
}

/// Registers one family under the name of its samples, for [`families!`].
#[doc(hidden)]
pub fn register(registry: &mut Registry, name: &str, help: &[&str], metric: impl Metric) {
    // The library adds the full stop, the suffix of counters and the unit.
    let help = help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let help = help.trim_end_matches('.');
    let name = match metric.metric_type() {
        MetricType::Counter => name.strip_suffix("_total").expect("the name of a counter ends in _total"),
        _ => name,
    };
    match name.strip_suffix("_seconds") {
        Some(name) => registry.register_with_unit(name, help, Unit::Seconds, metric),
        None => registry.register(name, help, metric),
    }
}
