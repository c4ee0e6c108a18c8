// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow} from "./Escrow.sol";
import {Rig} from "./Rig.sol";

/// @title Money comes in: deposits, one by one and many at once, and who may choose a lane's delay.
contract FillTest is Rig {
    uint96 private constant MOST = type(uint96).max;
    bytes private overflow = abi.encodeWithSignature("Panic(uint256)", 0x11);

    function setUp() public {
        _deployAll();
    }

    function _deposited(uint96 amount, uint8 steps) private view returns (IEscrow.Deposit memory) {
        return IEscrow.Deposit(sides.payer, sides.provider, sides.signer, amount, steps);
    }

    function _many(uint96 amount, uint8 steps) private view returns (bytes memory) {
        IEscrow.Deposit[] memory one = new IEscrow.Deposit[](1);
        one[0] = _deposited(amount, steps);
        return abi.encodeCall(IEscrow.depositMany, (one));
    }

    function _payerHas(uint256 amount) private {
        token.mint(sides.payer, amount);
        vm.prank(sides.payer);
        token.approve(address(escrow), type(uint256).max);
    }

    function test_the_contract_says_what_it_was_deployed_with() public view {
        require(escrow.token() == address(token), "token");
        _same(escrow.delayStep(), STEP, "step");
        _same(escrow.defaultDelay(), DEFAULT_STEPS, "steps");
        _same(escrow.exitDelay(), WINDOW, "window");
        _same(escrow.stakeDelay(), STAKE_WINDOW, "stake window");
        bytes32 id = keccak256(abi.encodePacked(sides.payer, sides.provider, sides.signer));
        require(escrow.laneId(sides.payer, sides.provider, sides.signer) == id, "lane id");
    }

    function test_a_deposit_opens_a_lane_with_the_default_window() public {
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(sides.payer, sides.provider, sides.signer, 70);
        _deposit(sides, 70);
        LaneState memory state = _lane(sides);
        _same(state.balance, 70, "balance");
        _same(state.claimed, 0, "claimed");
        _same(state.exitAt, 0, "exit");
        _same(state.delaySeconds, WINDOW, "window");
        _same(state.epoch, 0, "epoch");
        _same(before - token.balanceOf(address(this)), 70, "taken from the sender");
        _same(token.balanceOf(address(escrow)), 70, "held");
        _deposit(sides, 5);
        _same(_lane(sides).balance, 75, "a second deposit adds to the first");
    }

    function test_a_deposit_for_nobody_or_of_nothing_is_refused() public {
        for (uint256 place; place < 3; ++place) {
            for (uint256 which; which < 2; ++which) {
                address nobody = which == 0 ? address(0) : address(escrow);
                address[3] memory who = [sides.payer, sides.provider, sides.signer];
                who[place] = nobody;
                bytes memory call_ = abi.encodeCall(IEscrow.deposit, (who[0], who[1], who[2], 1));
                _refused(address(this), call_, IEscrow.NotAParty.selector, nobody);
            }
        }
        bytes memory nothing = abi.encodeCall(IEscrow.deposit, (sides.payer, sides.provider, sides.signer, 0));
        _refused(address(this), nothing, IEscrow.ZeroAmount.selector);
    }

    function test_a_balance_that_does_not_fit_is_refused() public {
        _deposit(sides, MOST);
        _same(_lane(sides).balance, MOST, "balance");
        bytes memory more = abi.encodeCall(IEscrow.deposit, (sides.payer, sides.provider, sides.signer, 1));
        _refused(address(this), more, overflow);
    }

    function test_a_deposit_without_tokens_or_allowance_is_refused() public {
        token.mint(stranger, 1);
        bytes memory call_ = abi.encodeCall(IEscrow.deposit, (sides.payer, sides.provider, sides.signer, 1));
        require(!_tried(stranger, call_), "no allowance");
        vm.prank(stranger);
        token.approve(address(escrow), 2);
        require(_tried(stranger, call_), "all there");
        require(!_tried(stranger, call_), "no tokens left");
        _same(_lane(sides).balance, 1, "balance");
    }

    function test_a_strangers_deposit_changes_neither_exit_nor_delay_nor_claims() public {
        _payerHas(10);
        require(_tried(sides.payer, _many(10, 200)), "the payer chose a delay");
        escrow.redeemMany(sides.provider, _row(SESSION, sides, 4));
        vm.prank(sides.payer);
        escrow.startExit(sides.provider, sides.signer);
        uint40 due = _now() + 200 * STEP;
        vm.warp(block.timestamp + 100);
        _deposit(sides, 7);
        LaneState memory state = _lane(sides);
        _same(state.balance, 17, "balance");
        _same(state.claimed, 4, "claimed");
        _same(state.exitAt, due, "I7: exit");
        _same(state.delaySeconds, 200 * STEP, "delay");
    }

    function test_many_lanes_are_filled_with_one_transfer() public {
        IEscrow.Deposit[] memory all = new IEscrow.Deposit[](3);
        all[0] = _deposited(10, 0);
        all[1] = IEscrow.Deposit(stranger, sides.provider, sides.signer, 20, 0);
        all[2] = _deposited(30, 0);
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(sides.payer, sides.provider, sides.signer, 10);
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(stranger, sides.provider, sides.signer, 20);
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(sides.payer, sides.provider, sides.signer, 30);
        escrow.depositMany(all);
        _same(_lane(sides).balance, 40, "a lane named twice");
        _same(_lane(Sides(stranger, sides.provider, sides.signer)).balance, 20, "another lane");
        _same(before - token.balanceOf(address(this)), 60, "taken");
        _same(token.balanceOf(address(escrow)), 60, "held");
    }

    function test_many_deposits_happen_all_or_not_at_all() public {
        IEscrow.Deposit[] memory all = new IEscrow.Deposit[](2);
        bytes memory none = abi.encodeCall(IEscrow.depositMany, (new IEscrow.Deposit[](0)));
        _refused(address(this), none, IEscrow.ZeroAmount.selector);
        (all[0], all[1]) = (_deposited(10, 0), _deposited(0, 0));
        _refused(address(this), abi.encodeCall(IEscrow.depositMany, (all)), IEscrow.ZeroAmount.selector);
        all[1] = IEscrow.Deposit(sides.payer, sides.provider, address(0), 5, 0);
        _refused(address(this), abi.encodeCall(IEscrow.depositMany, (all)), IEscrow.NotAParty.selector, address(0));
        (all[0], all[1]) = (_deposited(MOST, 0), _deposited(1, 0));
        _refused(address(this), abi.encodeCall(IEscrow.depositMany, (all)), overflow);
        _same(_lane(sides).balance, 0, "balance");
    }

    function test_only_the_payer_chooses_a_delay() public {
        _refused(address(this), _many(1, 30), IEscrow.NotThePayer.selector, sides.payer);
        _refused(address(this), _many(1, DEFAULT_STEPS), IEscrow.NotThePayer.selector, sides.payer);
        _payerHas(100);
        vm.expectEmit(address(escrow));
        emit IEscrow.DelaySet(sides.payer, sides.provider, sides.signer, 30 * STEP);
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(sides.payer, sides.provider, sides.signer, 1);
        require(_tried(sides.payer, _many(1, 30)), "the payer's choice");
        _same(_lane(sides).delaySeconds, 30 * STEP, "delay");
        _refused(address(this), _many(1, 31), IEscrow.NotThePayer.selector, sides.payer);
        require(_tried(address(this), _many(1, 0)), "a deposit that leaves it");
        _same(_lane(sides).delaySeconds, 30 * STEP, "delay");
    }

    function test_a_delay_only_grows_while_money_is_held() public {
        _payerHas(100);
        require(_tried(sides.payer, _many(10, 30)), "first");
        _refused(sides.payer, _many(10, 29), IEscrow.DelayMayOnlyGrow.selector, 30);
        require(_tried(sides.payer, _many(10, 30)), "the same");
        require(_tried(sides.payer, _many(10, 255)), "the longest");
        _same(_lane(sides).delaySeconds, 255 * uint256(STEP), "delay");
        _same(_lane(sides).balance, 30, "balance");
        escrow.redeemMany(sides.provider, _row(SESSION, sides, 30));
        require(_tried(sides.payer, _many(10, 1)), "a shorter one, while nothing was held");
        _same(_lane(sides).delaySeconds, STEP, "delay");
    }

    function test_a_longer_delay_does_not_touch_a_running_exit() public {
        _payerHas(20);
        require(_tried(sides.payer, _many(10, 30)), "opened");
        vm.prank(sides.payer);
        escrow.startExit(sides.provider, sides.signer);
        uint40 due = _now() + 30 * STEP;
        require(_tried(sides.payer, _many(10, 60)), "longer");
        _same(_lane(sides).exitAt, due, "exit");
        _same(_lane(sides).delaySeconds, 60 * STEP, "delay");
    }

    function testFuzz_the_delay_is_what_the_rules_say(uint8 first, uint8 second, bool drawn) public {
        _payerHas(100);
        require(_tried(sides.payer, _many(10, first)), "first");
        uint256 chosen = first == 0 ? DEFAULT_STEPS : first;
        if (drawn) escrow.redeemMany(sides.provider, _row(SESSION, sides, 10));
        bool allowed = second == 0 || second >= chosen || drawn;
        require(_tried(sides.payer, _many(10, second)) == allowed, "the rule");
        if (allowed && second != 0) chosen = second;
        _same(_lane(sides).delaySeconds, chosen * STEP, "delay");
    }
}
