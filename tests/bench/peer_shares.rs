//! What the peer's example times but does not tell: how many of its decisions place something, and on how many nodes.
//! The same nodes, workloads and calls as in its `benchmark_optimized`. Built in a scratch folder by `peers.py`.
//! Prints lines of `nodes column placed decisions distinct_nodes seconds`.

use forge_orchestration::scheduler::{
    BinPackScheduler, NodeResources, OptimizedScheduler, ResourceRequirements, Scheduler, Workload, WorkloadBatch,
};
use forge_orchestration::types::NodeId;
use std::collections::HashSet;
use std::time::Instant;

const ROUNDS: usize = 1000;
const WORKLOADS: usize = 100;

fn nodes(count: usize) -> Vec<NodeResources> {
    (0..count as u64)
        .map(|i| {
            let mut node = NodeResources::new(NodeId::new(), 8000, 32768);
            node.cpu_allocated = (i * 300) % 3000;
            node.memory_allocated = (i * 1500) % 15000;
            node
        })
        .collect()
}

fn workloads() -> Vec<Workload> {
    (0..WORKLOADS as u64)
        .map(|i| {
            let wanted = ResourceRequirements::new().cpu(100 + (i % 10) * 100).memory(256 + (i % 8) * 256);
            Workload::new(format!("w-{}", i), "test").with_resources(wanted).with_priority(i as i32)
        })
        .collect()
}

/// Once a whole round places nothing, no later one does: nothing is ever released.
fn count(size: usize, column: &str, mut round: impl FnMut() -> Vec<Option<NodeId>>) {
    let (mut placed, mut used, mut seconds) = (0, HashSet::new(), 0.0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let answer = round();
        seconds += began.elapsed().as_secs_f64();
        let found: Vec<NodeId> = answer.into_iter().flatten().collect();
        if found.is_empty() {
            break;
        }
        placed += found.len();
        used.extend(found);
    }
    println!("{} {} {} {} {} {}", size, column, placed, ROUNDS * WORKLOADS, used.len(), seconds);
}

#[cfg(feature = "bind")]
fn bind(size: usize, wanted: &[Workload]) {
    let scheduler = OptimizedScheduler::new();
    nodes(size).into_iter().for_each(|node| scheduler.register_node(node));
    count(size, "Commit", || {
        let found: Vec<_> = wanted.iter().map(|one| scheduler.schedule_fast_commit(one)).collect();
        for (node, one) in found.iter().zip(wanted) {
            if let Some(id) = node {
                scheduler.release_workload(*id, &one.resources, &[]);
            }
        }
        found
    });
}

fn main() {
    let wanted = workloads();
    for size in [100, 500, 1000, 5000] {
        let standard = Scheduler::with_algorithm(BinPackScheduler::new());
        nodes(size).into_iter().for_each(|node| standard.register_node(node));
        count(size, "Standard", || wanted.iter().map(|one| standard.schedule(one).node_id).collect());
        let optimized = OptimizedScheduler::new();
        nodes(size).into_iter().for_each(|node| optimized.register_node(node));
        count(size, "Optimized", || wanted.iter().map(|one| optimized.schedule_fast(one)).collect());
        count(size, "Batch", || {
            let mut batch = WorkloadBatch::new(wanted.clone());
            optimized.schedule_batch(&mut batch);
            batch.results().to_vec()
        });
        #[cfg(feature = "bind")]
        bind(size, &wanted);
    }
}
