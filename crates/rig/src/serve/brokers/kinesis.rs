//! Amazon Kinesis.

use std::sync::Arc;

use broker::kinesis::{KinesisProducer, KinesisSource};

use super::Brokers;
use crate::settings::KinesisSettings;

impl Brokers {
    /// Adds Kinesis.
    pub(super) fn add_kinesis(&mut self, settings: KinesisSettings) {
        // It connects when an endpoint uses it.
        self.producers.kinesis = Some(Arc::new(KinesisProducer::new(settings.target)));
        if let Some(source) = settings.source {
            self.add_source(Arc::new(KinesisSource::new(source, self.intake.clone())));
        }
    }
}
