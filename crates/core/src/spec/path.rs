//! Where a value stands inside a workflow, as people write it: `tasks.train.needs[0]`.

use std::fmt;

/// A path from the top of a workflow, built step by step on the stack, so that it costs nothing until it is printed.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    /// The workflow itself.
    Root,
    /// A field or an entry of a map.
    Key(&'p Path<'p>, &'p str),
    /// A position in a list, from 0.
    Index(&'p Path<'p>, usize),
}

/// One step of a [`Path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'p> {
    /// A field or an entry of a map.
    Key(&'p str),
    /// A position in a list, from 0.
    Index(usize),
}

impl<'p> Path<'p> {
    /// The field or entry `name` of what stands here.
    pub(super) fn key(&'p self, name: &'p str) -> Path<'p> {
        Path::Key(self, name)
    }

    /// The item at `position` of the list that stands here.
    pub(super) fn index(&'p self, position: usize) -> Path<'p> {
        Path::Index(self, position)
    }

    /// The steps from the top.
    pub(super) fn segments(&self) -> Vec<Segment<'p>> {
        let mut segments = Vec::new();
        let mut at = *self;
        loop {
            match at {
                Path::Root => break,
                Path::Key(parent, name) => {
                    segments.push(Segment::Key(name));
                    at = *parent;
                }
                Path::Index(parent, position) => {
                    segments.push(Segment::Index(position));
                    at = *parent;
                }
            }
        }
        segments.reverse();
        segments
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.segments().into_iter().enumerate() {
            match segment {
                Segment::Key(name) if at == 0 => write!(f, "{}", name.escape_debug())?,
                Segment::Key(name) => write!(f, ".{}", name.escape_debug())?,
                Segment::Index(position) => write!(f, "[{position}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_people_write_it() {
        let tasks = Path::Root.key("tasks");
        let task = tasks.key("train");
        let needs = task.key("needs");
        assert_eq!(needs.index(2).to_string(), "tasks.train.needs[2]");
        assert_eq!(Path::Root.to_string(), "");
    }
}
