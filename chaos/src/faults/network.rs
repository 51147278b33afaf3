//! Faults of links: cut one way or both, slow, silent.

use anyhow::{Result, bail};
use rand::Rng;

use super::{Stage, Target, Way, masters, names};
use crate::ground::Who;
use crate::proxy::Weather;
use crate::scenario::Span;

impl Stage<'_> {
    pub(super) async fn cut(&mut self, target: Target, way: Way, span: Span) -> Result<String> {
        let whom = self.aim(target).await?;
        let way = match way {
            Way::Any => [Way::Both, Way::Out, Way::In][self.chance.random_range(0..3)],
            way => way,
        };
        let links = self.links(&whom, way);
        for (from, to) in &links {
            self.lab.ground.cut(*from, *to)?;
        }
        let span = span.draw(&mut self.chance);
        self.pass(span).await?;
        for (from, to) in &links {
            self.lab.ground.heal(*from, *to)?;
        }
        let way = match way {
            Way::Both | Way::Any => "off",
            Way::Out => "off on its way out",
            Way::In => "off on its way in",
        };
        Ok(format!("cut {} {way} for {span:?}", names(&whom)))
    }

    /// The links, each in one direction, between those who are cut off and all other masters.
    fn links(&self, whom: &[Who], way: Way) -> Vec<(Who, Who)> {
        let others: Vec<Who> = (0..self.lab.masters.len())
            .map(Who::Master)
            .filter(|other| !whom.contains(other))
            .collect();
        let mut links = Vec::new();
        for one in whom {
            for other in &others {
                if way != Way::In {
                    links.push((*one, *other));
                }
                if way != Way::Out {
                    links.push((*other, *one));
                }
            }
        }
        links
    }

    pub(super) async fn slow_link(
        &mut self,
        target: Target,
        delay: Span,
        jitter: Span,
        span: Span,
    ) -> Result<String> {
        let whom = self.aim(target).await?;
        let delay = delay.draw(&mut self.chance);
        let jitter = jitter.draw(&mut self.chance);
        let weather = Weather { delay, jitter, is_silent: false };
        for at in masters(&whom) {
            let Some(proxy) = self.lab.proxies.get(at) else {
                bail!("a scenario with slow links needs `proxies = true`");
            };
            proxy.set(weather);
        }
        let span = span.draw(&mut self.chance);
        self.pass(span).await?;
        for at in masters(&whom) {
            self.lab.proxies[at].set(Weather::default());
        }
        Ok(format!(
            "the link to {} took {delay:?} and up to {jitter:?} more for {span:?}",
            names(&whom)
        ))
    }
}
