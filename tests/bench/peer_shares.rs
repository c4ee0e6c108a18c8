//! What the peer's example does not tell: how many of its decisions place something, on how many nodes, and how long
//! they take by the processor's clock, whatever else runs. The same nodes, workloads and calls as in its own
//! `benchmark_optimized`. Built in a scratch folder by `peers.py`.
//! Prints lines of `nodes column placed decisions distinct_nodes processor_seconds`.

use forge_orchestration::scheduler::{
    BinPackScheduler, NodeResources, OptimizedScheduler, ResourceRequirements, Scheduler, Workload, WorkloadBatch,
};
use forge_orchestration::types::NodeId;
use std::collections::HashSet;

const ROUNDS: usize = 1000;
const WORKLOADS: usize = 100;

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

extern "C" {
    fn clock_gettime(clock: i32, now: *mut Timespec) -> i32;
}

/// Processor time of all threads of this process, on 64-bit Linux.
fn processor_seconds() -> f64 {
    const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    assert_eq!(unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut now) }, 0);
    now.seconds as f64 + now.nanoseconds as f64 / 1e9
}

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

/// A thousand rounds, as in the example.
fn count(size: usize, column: &str, mut round: impl FnMut() -> Vec<Option<NodeId>>) {
    let (mut placed, mut used, mut seconds) = (0, HashSet::new(), 0.0);
    for _ in 0..ROUNDS {
        let began = processor_seconds();
        let answer = round();
        seconds += processor_seconds() - began;
        let found: Vec<NodeId> = answer.into_iter().flatten().collect();
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
