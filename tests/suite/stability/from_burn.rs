//! Settings read from burn's (feature `optim`).

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::*;
use burn_sharpness::Error;
use burn_sharpness::stability::*;

#[test]
fn every_setting_of_burn_is_read() {
    let decay = || Some(WeightDecayConfig::new(0.25));
    let momentum =
        MomentumConfig::new().with_momentum(0.5).with_dampening(0.25).with_nesterov(true);
    let sgd = SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(decay());
    let expected = SgdStabilityConfig::new(0.1)
        .with_momentum(0.5)
        .with_dampening(0.25)
        .with_nesterov(true)
        .with_weight_decay(0.25);
    assert_eq!(SgdStabilityConfig::from_burn(0.1, &sgd).unwrap().init(), expected.init());
    let plain = SgdStabilityConfig::from_burn(0.1, &SgdConfig::new()).unwrap();
    assert_eq!(plain.init(), SgdStabilityConfig::new(0.1).init());

    let adam = AdamConfig::new().with_beta_1(0.75).with_weight_decay(decay());
    let expected = AdamStabilityConfig::new(0.1).with_beta_1(0.75).with_weight_decay(0.25);
    assert_eq!(AdamStabilityConfig::from_adam(0.1, &adam).unwrap().init(), expected.init());

    let adamw = AdamWConfig::new().with_beta_1(0.75).with_weight_decay(0.25);
    let expected = expected.with_decay(Decay::Decoupled);
    assert_eq!(AdamStabilityConfig::from_adamw(0.1, &adamw).unwrap().init(), expected.init());
    // 0.9f32 is stored as 0.9, not as its nearest f32.
    let default = AdamStabilityConfig::from_adamw(0.1, &AdamWConfig::new()).unwrap();
    assert_eq!((default.beta_1, default.weight_decay), (0.9, 1e-4));
    let cautious = AdamWConfig::new().with_cautious_weight_decay(true);
    let refused = AdamStabilityConfig::from_adamw(0.1, &cautious);
    assert!(
        matches!(refused, Err(Error::InvalidSetting { setting: "cautious_weight_decay", .. })),
        "{refused:?}"
    );

    let rms = RmsPropConfig::new().with_momentum(0.5).with_weight_decay(decay());
    let expected = RmsPropStabilityConfig::new(0.1, 0.5).with_weight_decay(0.25);
    assert_eq!(RmsPropStabilityConfig::from_burn(0.1, &rms).unwrap().init(), expected.init());

    let grad = AdaGradConfig::new().with_lr_decay(0.5).with_weight_decay(decay());
    let read = AdaGradStabilityConfig::from_burn(0.1, &grad).unwrap().with_step(3);
    let expected = AdaGradStabilityConfig::new(0.1).with_lr_decay(0.5).with_step(3);
    assert_eq!(read.init(), expected.with_weight_decay(0.25).init());
}

#[test]
fn settings_that_burn_cannot_store_are_an_error() {
    let momentum = MomentumConfig::new().with_momentum(f64::NAN);
    let sgd = SgdConfig::new().with_momentum(Some(momentum));
    let refused = SgdStabilityConfig::from_burn(0.1, &sgd);
    assert!(
        matches!(refused, Err(Error::InvalidSetting { setting: "optimizer", .. })),
        "{refused:?}"
    );
}
