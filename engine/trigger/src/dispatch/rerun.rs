//! Doing a run again: what did not succeed, or all of it.

use std::sync::Arc;

use bascule_run::journal::JournalError;
use bascule_run::record::RunRecord;
use bascule_run::{Basis, RunError, RunId};
use bascule_workflow::plan::Workflow;
use serde_json::{Map, Value};

use super::{Dispatcher, execute, tables};
use crate::admission::{Admission, IntakeError, Timing};
use crate::intake::{Arrival, Waiting};

/// What is to be done again.
#[derive(Clone, Debug)]
pub enum Rerun {
    /// What did not succeed (spec 6), as the next attempt of the same run.
    Failed {
        /// By which text.
        basis: Basis,
        /// With other inputs, all of them; by default with the same.
        inputs: Option<Map<String, Value>>,
    },
    /// All of it, as a run of its own.
    FromStart {
        /// By which text; the plugins are those of now in any case.
        basis: Basis,
        /// With other inputs; by default with the same.
        inputs: Option<Map<String, Value>>,
    },
}

/// Why a run is not done again.
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    /// There is no such run, it has not ended, or the journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It cannot be taken up again.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its text cannot be used.
    #[error("{0}")]
    Text(String),
    /// The new run was not taken.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// Its group is at work, and `when-busy` is `skip`.
    #[error("{0}")]
    Skipped(String),
    /// The database failed.
    #[error("the queue cannot be read")]
    Database(#[from] bascule_database::DatabaseError),
}

impl Dispatcher {
    /// Does a run again that has ended. Gives the run that is going to be executed: the same one, or a new one.
    ///
    /// # Errors
    /// [`RerunError`]; nothing was changed.
    pub async fn rerun(&self, run: RunId, what: Rerun) -> Result<RunId, RerunError> {
        let parts = &self.shared.parts;
        let record = RunRecord::read(&*parts.journal, &run.to_string()).await?;
        if record.header.status.is_open() {
            return Err(JournalError::NotEnded { run, status: record.header.status }.into());
        }
        match what {
            Rerun::Failed { basis, inputs } => {
                let workflow = self.text_for(&record, basis).await?;
                let inputs = inputs.map(|inputs| accepted(&workflow, inputs)).transpose()?;
                parts.runner.reopen(run, &workflow, bascule_run::Rerun { basis, inputs }).await?;
                let order = tables::order_of(&parts.intake, run).await?;
                let concurrency_key = record.header.concurrency_key.clone();
                let waiting = Waiting { order, workflow: record.header.workflow, concurrency_key };
                parts.intake.arrivals().add(vec![Arrival::Run(waiting)]);
                Ok(run)
            }
            Rerun::FromStart { basis, inputs } => {
                let workflow = match basis {
                    Basis::AsBegun => execute::with_present_plugins(&self.shared, &record.header)
                        .await?
                        .map_err(RerunError::Text)?,
                    Basis::Latest => self.text_for(&record, basis).await?,
                };
                let mut trigger = record.trigger;
                if let Value::Object(map) = &mut trigger {
                    map.insert("rerun_of".to_owned(), Value::from(run.to_string()));
                }
                let admission = Admission {
                    inputs: inputs.unwrap_or(record.inputs),
                    timing: Timing::AtOnce,
                    ..Admission::new(workflow, "rerun", trigger)
                };
                let admitted = parts.intake.admit(admission).await?;
                admitted.run.ok_or_else(|| RerunError::Skipped(admitted.reason.unwrap_or_default()))
            }
        }
    }

    async fn text_for(&self, record: &RunRecord, basis: Basis) -> Result<Arc<Workflow>, RerunError> {
        let header = &record.header;
        match basis {
            Basis::AsBegun => execute::pinned(&self.shared, header).await?.map_err(RerunError::Text),
            Basis::Latest => self.shared.parts.book.current(&header.workflow).ok_or_else(|| {
                RerunError::Text(format!("there is no workflow `{}` any more", header.workflow))
            }),
        }
    }
}

fn accepted(workflow: &Workflow, inputs: Map<String, Value>) -> Result<Map<String, Value>, IntakeError> {
    workflow
        .accept_inputs(inputs)
        .map_err(|problems| IntakeError::Inputs { workflow: workflow.id.clone(), problems })
}
