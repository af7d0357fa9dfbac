//! What a run is pinned to: the texts of its workflows, and the components of their plugins.

use std::collections::BTreeMap;

use bascule_workflow::plan::Workflow;

use crate::journal::{Memory, PinnedPlugins, PinnedText, PinnedTexts, RunId};
use crate::runner::{Parts, RunError};

/// A run that was taken up.
pub(crate) struct Taken {
    /// Its record.
    pub(crate) memory: Memory,
    /// The texts of the workflows that its own one names.
    pub(crate) texts: PinnedTexts,
    /// The components that it goes by from here to its end.
    pub(crate) plugins: PinnedPlugins,
}

/// Takes a run up that is claimed: by the texts and components that it began with, or, where it begins now, by those of
/// `workflow`, which are kept for it then.
///
/// # Errors
/// [`RunError::OtherText`], [`RunError::OtherPlugin`] where it began with others; [`RunError::NotKept`]; what the journal
/// says.
pub(crate) async fn take(parts: &Parts, run: RunId, workflow: &Workflow) -> Result<Taken, RunError> {
    let memory = Memory::of(parts.journal.read(run).await?);
    let texts = pinned(workflow);
    if let Some((id, text)) = memory.texts.iter().find(|(id, text)| texts.get(*id) != Some(*text)) {
        return Err(RunError::OtherText { run, workflow: id.clone(), digest: text.digest.clone() });
    }
    let mut plugins = components(workflow);
    let Some(begun) = &memory.plugins else {
        let kept = parts.invoke.keep(&plugins).await;
        kept.map_err(|reason| RunError::NotKept { run, reason: Box::new(reason) })?;
        return Ok(Taken { memory, texts, plugins });
    };
    let other =
        |(name, component): &(&String, &String)| plugins.get(*name).is_some_and(|now| now != *component);
    if let Some((plugin, component)) = begun.iter().find(other) {
        return Err(RunError::OtherPlugin { run, plugin: plugin.clone(), component: component.clone() });
    }
    plugins.clone_from(begun);
    Ok(Taken { memory, texts, plugins })
}

/// The texts of all workflows that this one names, and that those name.
pub(crate) fn pinned(workflow: &Workflow) -> PinnedTexts {
    let text = |child: &Workflow| PinnedText { digest: child.digest.clone(), text: child.text.to_string() };
    named(workflow).into_iter().map(|(id, child)| (id.to_owned(), text(child))).collect()
}

/// The components of the plugins that this workflow and all those workflows name.
fn components(workflow: &Workflow) -> PinnedPlugins {
    let mut plugins = workflow.plugins.clone();
    for child in named(workflow).into_values() {
        plugins.extend(child.plugins.iter().map(|(name, component)| (name.clone(), component.clone())));
    }
    plugins
}

/// All workflows that this one names, and that those name, by id.
fn named(workflow: &Workflow) -> BTreeMap<&str, &Workflow> {
    let mut all: BTreeMap<&str, &Workflow> = BTreeMap::new();
    let mut open: Vec<&Workflow> = vec![workflow];
    while let Some(workflow) = open.pop() {
        for (id, child) in &workflow.children {
            if all.insert(id, child).is_none() {
                open.push(child);
            }
        }
    }
    all
}
