//! Where boxes and lines lie: in layers from left to right, with few crossings (Sugiyama, Tagawa and Toda: Methods for
//! visual understanding of hierarchical system structures, 1981).
//!
//! ```text
//!  tasks ──► layers: each right of all that it waits for
//!        ──► places: a line over several layers gets a place in each of them
//!        ──► order: each place near the middle of its neighbours, layer by layer, to and fro; the best is kept
//!        ──► heights: as near to the neighbours as the distance to the next place allows
//! ```

use super::Drawing;

/// Times that the layers are put in order, to and fro.
const SWEEPS: usize = 24;
/// With so many places or more they are put in order fewer times.
const PLACES_MANY: usize = 4_000;
const SWEEPS_OF_MANY: usize = 4;
/// Beyond so many places lines get none of their own, and run straight.
const PLACES_MAX: usize = 100_000;
/// Times that heights are adapted, to and fro.
const SETTLINGS: usize = 12;
/// From one place of a layer to the next; lines lie closer together than boxes.
const BOX_HEIGHT: f64 = 1.0;
const LINE_HEIGHT: f64 = 0.4;

/// Where everything lies.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Layer and height of each task. Heights begin at 0; boxes are 1 apart at least.
    pub(crate) boxes: Vec<(usize, f64)>,
    /// From, to, and the heights in the layers between.
    pub(crate) lines: Vec<(usize, usize, Vec<f64>)>,
    pub(crate) layers: usize,
    /// The largest height of a place.
    pub(crate) height: f64,
}

/// The places of all layers, those of tasks first.
struct Places {
    layers: Vec<Vec<usize>>,
    /// Neighbours in the layer before and in the one behind.
    before: Vec<Vec<usize>>,
    behind: Vec<Vec<usize>>,
    layer: Vec<usize>,
    is_box: Vec<bool>,
}

pub(crate) fn layout(drawing: &Drawing<'_>) -> Layout {
    let layer = layers(drawing);
    let edges: Vec<(usize, usize)> = drawing.edges().collect();
    let mut places = Places::of(layer);
    let between: usize = edges.iter().map(|(from, to)| places.span(*from, *to)).sum();
    let is_routed = places.layer.len() + between <= PLACES_MAX;
    let routes: Vec<Vec<usize>> = edges
        .iter()
        .map(|(from, to)| if is_routed { places.route(*from, *to) } else { Vec::new() })
        .collect();
    places.untangle();
    let heights = places.settle();
    let boxes = (0..drawing.workflow.tasks.len()).map(|it| (places.layer[it], heights[it]));
    let lines = edges.iter().zip(routes).map(|((from, to), route)| {
        (*from, *to, route.into_iter().map(|place| heights[place]).collect())
    });
    Layout {
        boxes: boxes.collect(),
        lines: lines.collect(),
        layers: places.layers.len(),
        height: heights.iter().copied().fold(0.0, f64::max),
    }
}

/// Each task right of all that it waits for; what waits for nothing, next to the first that waits for it.
fn layers(drawing: &Drawing<'_>) -> Vec<usize> {
    let mut layer = vec![0; drawing.workflow.tasks.len()];
    let order = || drawing.graph.order().iter().map(|task| task.0 as usize);
    for task in order() {
        layer[task] = drawing.upstream(task).map(|it| layer[it] + 1).max().unwrap_or(0);
    }
    for task in order() {
        if drawing.upstream(task).next().is_none() {
            let first = drawing.downstream(task).map(|it| layer[it]).min();
            layer[task] = first.map_or(0, |first| first - 1);
        }
    }
    layer
}

impl Places {
    fn of(layer: Vec<usize>) -> Self {
        let mut layers = vec![Vec::new(); layer.iter().max().map_or(0, |last| last + 1)];
        for (place, at) in layer.iter().enumerate() {
            layers[*at].push(place);
        }
        let none = vec![Vec::new(); layer.len()];
        let is_box = vec![true; layer.len()];
        Self { layers, before: none.clone(), behind: none, layer, is_box }
    }

    /// The layers between two tasks.
    fn span(&self, from: usize, to: usize) -> usize {
        self.layer[to] - self.layer[from] - 1
    }

    /// Gives a line a place in each layer between its ends.
    fn route(&mut self, from: usize, to: usize) -> Vec<usize> {
        let first = self.layer.len();
        let route: Vec<usize> = (first..first + self.span(from, to)).collect();
        for (place, at) in route.iter().zip(self.layer[from] + 1..) {
            self.layer.push(at);
            self.layers[at].push(*place);
            self.before.push(Vec::new());
            self.behind.push(Vec::new());
            self.is_box.push(false);
        }
        let stops = [&[from], &route[..], &[to]].concat();
        for pair in stops.windows(2) {
            self.behind[pair[0]].push(pair[1]);
            self.before[pair[1]].push(pair[0]);
        }
        route
    }

    /// Puts the layers in an order with few crossings.
    fn untangle(&mut self) {
        let is_large = self.layer.len() >= PLACES_MANY;
        let mut rank = self.ranks();
        let mut best = (self.crossings(&rank), self.layers.clone());
        for sweep in 0..if is_large { SWEEPS_OF_MANY } else { SWEEPS } {
            let is_forth = sweep % 2 == 0;
            for at in to_and_fro(self.layers.len(), is_forth) {
                let neighbours = if is_forth { &self.before } else { &self.behind };
                let middle = |place: &usize| match &neighbours[*place] {
                    none if none.is_empty() => rank[*place] as f64,
                    some => some.iter().map(|it| rank[*it] as f64).sum::<f64>() / some.len() as f64,
                };
                self.layers[at].sort_by(|a, b| middle(a).total_cmp(&middle(b)));
                for (number, place) in self.layers[at].iter().enumerate() {
                    rank[*place] = number;
                }
            }
            let crossings = self.crossings(&rank);
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// The number of each place in its layer.
    fn ranks(&self) -> Vec<usize> {
        let mut rank = vec![0; self.layer.len()];
        for layer in &self.layers {
            for (number, place) in layer.iter().enumerate() {
                rank[*place] = number;
            }
        }
        rank
    }

    /// How many pairs of lines between neighbouring layers cross, counted with a tree of sums (Barth, Jünger and
    /// Mutzel: Simple and efficient bilayer cross counting, 2002).
    fn crossings(&self, rank: &[usize]) -> u64 {
        let pairs = self.layers.windows(2);
        pairs
            .map(|pair| {
                let mut sums = vec![0_u64; pair[1].len() + 1];
                let mut crossings = 0;
                let mut seen = 0;
                for place in &pair[0] {
                    let mut ends: Vec<usize> =
                        self.behind[*place].iter().map(|it| rank[*it]).collect();
                    ends.sort_unstable();
                    crossings +=
                        ends.iter().map(|end| seen - sum_up_to(&sums, end + 1)).sum::<u64>();
                    for end in ends {
                        add(&mut sums, end + 1);
                        seen += 1;
                    }
                }
                crossings
            })
            .sum()
    }

    /// Heights, as near to the neighbours as the order of each layer allows.
    fn settle(&self) -> Vec<f64> {
        let mut heights = vec![0.0; self.layer.len()];
        for layer in &self.layers {
            for (place, offset) in layer.iter().zip(self.offsets(layer)) {
                heights[*place] = offset;
            }
        }
        for round in 0..SETTLINGS {
            let is_forth = round % 2 == 0;
            for at in to_and_fro(self.layers.len(), is_forth) {
                let layer = &self.layers[at];
                let wanted = layer.iter().map(|place| {
                    // The last rounds look to both sides, so that a line runs as straight as it can.
                    let both = round + 2 >= SETTLINGS;
                    let before = self.before[*place].iter().filter(|_| is_forth || both);
                    let behind = self.behind[*place].iter().filter(|_| !is_forth || both);
                    let near: Vec<f64> = before.chain(behind).map(|it| heights[*it]).collect();
                    match near.is_empty() {
                        true => heights[*place],
                        false => near.iter().sum::<f64>() / near.len() as f64,
                    }
                });
                let offsets = self.offsets(layer);
                let free = wanted.zip(&offsets).map(|(wanted, offset)| wanted - offset).collect();
                for ((place, low), offset) in layer.iter().zip(ascending(free)).zip(offsets) {
                    heights[*place] = low + offset;
                }
            }
        }
        let lowest = heights.iter().copied().fold(f64::INFINITY, f64::min);
        heights.into_iter().map(|height| height - lowest).collect()
    }

    /// How far each place of a layer is below the first at least.
    fn offsets(&self, layer: &[usize]) -> Vec<f64> {
        let half = |place: &usize| if self.is_box[*place] { BOX_HEIGHT } else { LINE_HEIGHT } / 2.0;
        let mut at = 0.0;
        let mut offsets = Vec::with_capacity(layer.len());
        for (number, place) in layer.iter().enumerate() {
            if number > 0 {
                at += half(&layer[number - 1]) + half(place);
            }
            offsets.push(at);
        }
        offsets
    }
}

/// The layers that have one before them, in that direction.
fn to_and_fro(layers: usize, is_forth: bool) -> Box<dyn Iterator<Item = usize>> {
    match is_forth {
        true => Box::new(1..layers),
        false => Box::new((0..layers.saturating_sub(1)).rev()),
    }
}

/// The numbers that never fall and lie nearest to those wanted, by least squares: neighbours that fall are pooled (Ayer
/// et al.: An empirical distribution function for sampling with incomplete information, 1955).
fn ascending(wanted: Vec<f64>) -> Vec<f64> {
    let mut pools: Vec<(f64, usize)> = Vec::with_capacity(wanted.len());
    for value in wanted {
        let (mut sum, mut count) = (value, 1);
        while let Some((before, many)) =
            pools.pop_if(|(before, many)| *before / *many as f64 > sum / count as f64)
        {
            (sum, count) = (sum + before, count + many);
        }
        pools.push((sum, count));
    }
    let spread = |(sum, count): (f64, usize)| std::iter::repeat_n(sum / count as f64, count);
    pools.into_iter().flat_map(spread).collect()
}

/// Fenwick's tree: the sum of what stands at 1 to `at`.
fn sum_up_to(sums: &[u64], mut at: usize) -> u64 {
    let mut sum = 0;
    while at > 0 {
        sum += sums[at];
        at &= at - 1;
    }
    sum
}

fn add(sums: &mut [u64], mut at: usize) {
    while at < sums.len() {
        sums[at] += 1;
        at += at & at.wrapping_neg();
    }
}
