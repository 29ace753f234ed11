use super::*;
use crate::predictor::samples::{LayerShape, Recorder};

const INPUTS: usize = 64;
const NEURONS: usize = 96;

/// Activity of a random gate on inputs that mostly lie in a few directions, as those of language
/// models do.
fn recorded(tokens: usize) -> (Samples, Teacher) {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut normal = || (0..6).map(|_| rng.f32() - 0.5).sum::<f32>() * 1.4;
    let directions: Vec<f32> = (0..60 * INPUTS).map(|_| normal()).collect();
    let mut weight: Vec<f32> = (0..NEURONS * INPUTS).map(|_| normal() / 8.0).collect();
    let mut bias = vec![-1.0; NEURONS];
    // A third of the neurons has large weights and is never active: what is best for their values
    // is not what is best for decisions.
    for n in (0..NEURONS).step_by(3) {
        weight[n * INPUTS..][..INPUTS]
            .iter_mut()
            .for_each(|w| *w *= 4.0);
        bias[n] = -1000.0;
    }
    let shapes = vec![
        LayerShape {
            inputs: INPUTS,
            neurons: NEURONS
        };
        2
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(folder.path(), shapes, tokens).unwrap();
    for _ in 0..tokens {
        let mut x = [0.0f32; INPUTS];
        for direction in directions.chunks(INPUTS) {
            let a = normal();
            x.iter_mut().zip(direction).for_each(|(x, d)| *x += a * d);
        }
        x.iter_mut().for_each(|x| *x = *x * 0.15 + 0.1 * normal());
        let z: Vec<f32> = weight
            .chunks(INPUTS)
            .zip(&bias)
            .map(|(row, b)| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>() + b)
            .map(|z| z.max(0.0))
            .collect();
        for layer in 0..2 {
            recorder.inputs(layer, &x).unwrap();
            recorder.activity(layer, &z, 0.0).unwrap();
        }
    }
    (
        recorder.finish(MIN_TOKENS).unwrap(),
        Teacher { weight, bias },
    )
}

fn kernels() -> Kernels {
    Kernels::detect().unwrap()
}

fn run(samples: &Samples, teacher: Option<&Teacher>, options: &TrainOptions) -> Vec<Trained> {
    let teacher = |_| Ok::<_, SamplesError>(teacher.cloned());
    train(&kernels(), samples, &teacher, options, &|_| ()).unwrap()
}

#[test]
fn a_layer_is_learnt_from_its_gate_and_without_it() {
    let (samples, teacher) = recorded(1500);
    let options = TrainOptions {
        rank: Rank::Fixed(32),
        recall: 0.98,
        learning_rate: 1e-2,
        ..TrainOptions::default()
    };
    let from_gate = run(&samples, Some(&teacher), &options);
    let from_inputs = run(
        &samples,
        None,
        &TrainOptions {
            epochs: 12,
            ..options
        },
    );
    for (how, trained) in [("gate", &from_gate), ("inputs", &from_inputs)] {
        let q = trained[0].quality;
        assert!(
            q.density() > 0.02 && q.density() < 0.3,
            "{how}: {}",
            q.density()
        );
        assert!(q.recall() > 0.9, "{how}: recall {}", q.recall());
        assert!(
            q.over_prediction() < 2.5,
            "{how}: predicts {}",
            q.over_prediction()
        );
    }
}

#[test]
fn training_beats_its_own_start() {
    let (samples, teacher) = recorded(4000);
    let options = |epochs| TrainOptions {
        rank: Rank::Fixed(32),
        epochs,
        learning_rate: 1e-2,
        ..TrainOptions::default()
    };
    let start = run(&samples, Some(&teacher), &options(0))[0].quality;
    let trained = run(&samples, Some(&teacher), &options(20))[0].quality;
    assert!(
        trained.over_prediction() < 0.95 * start.over_prediction(),
        "{trained:?} is not better than {start:?}"
    );
}

#[test]
fn results_depend_on_the_seed_and_not_on_threads() {
    let (samples, teacher) = recorded(400);
    let options = |seed, threads| TrainOptions {
        rank: Rank::Fixed(32),
        epochs: 1,
        seed,
        threads,
        ..TrainOptions::default()
    };
    let parts = |seed, threads| {
        let trained = run(&samples, Some(&teacher), &options(seed, threads));
        trained.into_iter().map(|t| t.predictor).collect::<Vec<_>>()
    };
    assert_eq!(parts(1, 1), parts(1, 2));
    assert_ne!(parts(1, 1), parts(2, 1));
}

#[test]
fn the_automatic_rank_is_the_smallest_that_suffices() {
    let (samples, teacher) = recorded(600);
    let rank = |over_prediction| {
        let options = TrainOptions {
            rank: Rank::Auto {
                over_prediction,
                share: 1.0,
            },
            recall: 0.95,
            ..TrainOptions::default()
        };
        run(&samples, Some(&teacher), &options)[0].predictor.rank
    };
    assert_eq!(rank(50.0), 32);
    assert_eq!(rank(0.0), 64, "nothing suffices: the best");
}

#[test]
fn too_few_tokens_and_failing_teachers_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let shapes = vec![LayerShape {
        inputs: 2,
        neurons: 2,
    }];
    let mut recorder = Recorder::new(folder.path(), shapes, 8).unwrap();
    for _ in 0..8 {
        recorder.inputs(0, &[0.0; 2]).unwrap();
        recorder.activity(0, &[0.0; 2], 0.0).unwrap();
    }
    let samples = recorder.finish(1).unwrap();
    let nothing = |_| Ok::<_, SamplesError>(None);
    let error = train(
        &kernels(),
        &samples,
        &nothing,
        &TrainOptions::default(),
        &|_| (),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("8 tokens of activity are too few")
    );

    let (samples, _) = recorded(MIN_TOKENS);
    let fails = |layer| Err::<Option<Teacher>, _>(SamplesError::NotFinite { layer });
    train(
        &kernels(),
        &samples,
        &fails,
        &TrainOptions::default(),
        &|_| (),
    )
    .unwrap_err();
}
