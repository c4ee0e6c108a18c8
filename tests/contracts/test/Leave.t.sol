// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow} from "./Escrow.sol";
import {Rig} from "./Rig.sol";

/// @title Money goes back: exits with their window, closes that both agree to, and partial releases.
contract LeaveTest is Rig {
    function setUp() public {
        _deployAll();
        _deposit(sides, 100);
        escrow.redeemMany(sides.provider, _row(SESSION, sides, 30));
    }

    function _start() private view returns (bytes memory) {
        return abi.encodeCall(IEscrow.startExit, (sides.provider, sides.signer));
    }

    function _cancel() private view returns (bytes memory) {
        return abi.encodeCall(IEscrow.cancelExit, (sides.provider, sides.signer));
    }

    function _finish() private view returns (bytes memory) {
        return abi.encodeCall(IEscrow.finishExit, (sides.payer, sides.provider, sides.signer));
    }

    function _close(uint96 cumulative, uint40 deadline, bytes memory ofProvider, bytes memory ofPayer)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(
            IEscrow.closeTogether,
            (sides.payer, sides.provider, sides.signer, cumulative, deadline, ofProvider, ofPayer)
        );
    }

    function _release(uint96 newBalance, uint40 deadline, bytes memory consent) private view returns (bytes memory) {
        return abi.encodeCall(IEscrow.release, (sides.provider, sides.signer, newBalance, deadline, consent));
    }

    /// @dev The lane must be empty now, with `claimed` kept.
    function _closed(uint96 claimed, uint16 epoch) private view {
        LaneState memory state = _lane(sides);
        _same(state.balance, claimed, "balance");
        _same(state.claimed, claimed, "I3: claimed");
        _same(state.exitAt, 0, "I7: exit");
        _same(state.delaySeconds, WINDOW, "delay");
        _same(state.epoch, epoch, "epoch");
    }

    // --- exits

    function test_an_exit_gives_back_what_was_not_drawn_after_its_window() public {
        vm.expectEmit(address(escrow));
        emit IEscrow.ExitStarted(sides.payer, sides.provider, sides.signer, _now() + WINDOW);
        require(_tried(sides.payer, _start()), "started");
        uint40 due = _now() + WINDOW;
        _same(_lane(sides).exitAt, due, "exit");
        vm.warp(due - 1);
        _refused(stranger, _finish(), IEscrow.ExitNotDue.selector, due);
        escrow.redeemMany(sides.provider, _row(SESSION, sides, 45));
        vm.warp(due);
        vm.expectEmit(address(escrow));
        emit IEscrow.LaneClosed(sides.payer, sides.provider, sides.signer, 0, 55);
        require(_tried(stranger, _finish()), "anyone finishes it");
        _closed(45, 1);
        _same(token.balanceOf(sides.payer), 55, "I6");
        _same(token.balanceOf(sides.provider), 45, "the provider keeps what it drew");
        _same(token.balanceOf(address(escrow)), 0, "I1");
        _refused(stranger, _finish(), IEscrow.NoExitRunning.selector);
    }

    function test_an_exit_belongs_to_the_payer_alone() public {
        _refused(stranger, _start(), IEscrow.NothingHeld.selector);
        _refused(sides.provider, _start(), IEscrow.NothingHeld.selector);
        _refused(sides.signer, _start(), IEscrow.NothingHeld.selector);
        require(_tried(sides.payer, _start()), "started");
        _refused(sides.payer, _start(), IEscrow.ExitAlreadyRunning.selector, _now() + WINDOW);
        _refused(stranger, _cancel(), IEscrow.NoExitRunning.selector);
        _refused(sides.provider, _cancel(), IEscrow.NoExitRunning.selector);
        _same(_lane(sides).exitAt, _now() + WINDOW, "exit");
    }

    function test_there_is_no_exit_to_end_where_none_runs() public {
        _refused(sides.payer, _cancel(), IEscrow.NoExitRunning.selector);
        _refused(sides.payer, _finish(), IEscrow.NoExitRunning.selector);
        escrow.redeemMany(sides.provider, _row(SESSION, sides, 100));
        _refused(sides.payer, _start(), IEscrow.NothingHeld.selector);
    }

    function test_an_exit_that_was_stopped_starts_with_a_whole_window() public {
        require(_tried(sides.payer, _start()), "started");
        vm.warp(block.timestamp + WINDOW - 1);
        vm.expectEmit(address(escrow));
        emit IEscrow.ExitCancelled(sides.payer, sides.provider, sides.signer);
        require(_tried(sides.payer, _cancel()), "stopped");
        _same(_lane(sides).exitAt, 0, "exit");
        _same(_lane(sides).balance, 100, "balance");
        vm.warp(block.timestamp + 1);
        _refused(stranger, _finish(), IEscrow.NoExitRunning.selector);
        require(_tried(sides.payer, _start()), "started again");
        _refused(stranger, _finish(), IEscrow.ExitNotDue.selector, _now() + WINDOW);
    }

    function test_old_vouchers_stay_spent_after_an_exit_and_new_ones_count_on() public {
        bytes memory ahead = _row(SESSION, sides, 130);
        require(_tried(sides.payer, _start()), "started");
        vm.warp(block.timestamp + WINDOW);
        require(_tried(stranger, _finish()), "finished");
        _same(escrow.redeemMany(sides.provider, ahead), 0, "nothing is there");
        _deposit(sides, 500);
        _same(_lane(sides).balance, 530, "balance counts on");
        _same(escrow.redeemMany(sides.provider, _row(SESSION, sides, 30)), 0, "I5: spent before");
        _same(escrow.redeemMany(sides.provider, ahead), 100, "what was signed beyond");
        _refused(stranger, _finish(), IEscrow.NoExitRunning.selector);
    }

    // --- closes

    function test_both_together_close_at_once() public {
        bytes32 digest = _closeDigest(sides, 0, 60, _now());
        require(_tried(sides.payer, _start()), "an exit runs");
        vm.expectEmit(address(escrow));
        emit IEscrow.LaneClosed(sides.payer, sides.provider, sides.signer, 30, 40);
        bytes memory both = _close(60, _now(), _sign(PROVIDER, digest), _signCompact(PAYER, digest));
        require(_tried(stranger, both), "sent by a stranger, in the last second");
        _closed(60, 1);
        _same(token.balanceOf(sides.provider), 60, "I9: provider");
        _same(token.balanceOf(sides.payer), 40, "I9: payer");
        _refused(stranger, both, IEscrow.ConsentMissing.selector, sides.provider);
    }

    function test_who_sends_a_close_consents_by_that() public {
        bytes32 digest = _closeDigest(sides, 0, 60, _now());
        bytes memory byPayer = _close(60, _now(), _signCompact(PROVIDER, digest), "");
        bytes memory byProvider = _close(60, _now(), "", _sign(PAYER, digest));
        _refused(stranger, byPayer, IEscrow.ConsentMissing.selector, sides.payer);
        _refused(stranger, byProvider, IEscrow.ConsentMissing.selector, sides.provider);
        _refused(sides.provider, byPayer, IEscrow.ConsentMissing.selector, sides.payer);
        _refused(sides.payer, byProvider, IEscrow.ConsentMissing.selector, sides.provider);
        _refused(sides.signer, byPayer, IEscrow.ConsentMissing.selector, sides.payer);
        require(_tried(sides.payer, byPayer), "the payer");
        _closed(60, 1);
        _deposit(sides, 10);
        digest = _closeDigest(sides, 1, 60, _now());
        require(_tried(sides.provider, _close(60, _now(), "", _sign(PAYER, digest))), "the provider");
        _closed(60, 2);
        _same(token.balanceOf(sides.payer), 50, "payer");
    }

    function test_a_close_needs_the_parties_own_signatures_over_just_that() public {
        uint40 until = _now() + 9;
        bytes32 digest = _closeDigest(sides, 0, 60, until);
        bytes memory good = _sign(PAYER, digest);
        bytes[7] memory bad = [
            _sign(SESSION, digest),
            _sign(PAYER, _closeDigest(sides, 1, 60, until)),
            _sign(PAYER, _closeDigest(sides, 0, 61, until)),
            _sign(PAYER, _closeDigest(sides, 0, 60, until + 1)),
            _sign(PAYER, _closeDigest(Sides(sides.payer, sides.provider, stranger), 0, 60, until)),
            _sign(PAYER, _releaseDigest(sides, 0, 60, until)),
            bytes.concat(good, hex"00")
        ];
        for (uint256 i; i < bad.length; ++i) {
            bytes memory call_ = _close(60, until, _sign(PROVIDER, digest), bad[i]);
            _refused(stranger, call_, IEscrow.ConsentMissing.selector, sides.payer);
        }
        require(_tried(stranger, _close(60, until, _sign(PROVIDER, digest), good)), "the right one");
    }

    function test_a_consent_in_its_high_form_is_none() public {
        bytes32 digest = _closeDigest(sides, 0, 60, _now());
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(PROVIDER, digest);
        bytes memory high = abi.encodePacked(r, ORDER - uint256(s), uint8(55 - v));
        require(ecrecover(digest, 55 - v, r, bytes32(ORDER - uint256(s))) == sides.provider, "not a signature");
        _refused(sides.payer, _close(60, _now(), high, ""), IEscrow.ConsentMissing.selector, sides.provider);
    }

    /// @dev A recovery that fails yields the zero address, which is not a provider who agrees.
    function test_a_bad_signature_is_not_nobodys_consent() public {
        bytes memory bad = new bytes(65);
        bytes memory call_ =
            abi.encodeCall(IEscrow.closeTogether, (sides.payer, address(0), sides.signer, 0, _now(), bad, ""));
        _refused(sides.payer, call_, IEscrow.ConsentMissing.selector, address(0));
    }

    function test_a_close_is_within_its_time_and_its_range() public {
        uint40 late = _now() - 1;
        bytes memory old = _close(60, late, _sign(PROVIDER, _closeDigest(sides, 0, 60, late)), "");
        _refused(sides.payer, old, IEscrow.ConsentExpired.selector, late);
        uint96[2] memory outside = [uint96(29), 101];
        for (uint256 i; i < 2; ++i) {
            bytes32 digest = _closeDigest(sides, 0, outside[i], _now());
            bytes memory why = abi.encodeWithSelector(IEscrow.CumulativeOutOfRange.selector, 30, 100);
            _refused(sides.payer, _close(outside[i], _now(), _sign(PROVIDER, digest), ""), why);
        }
        _same(_lane(sides).epoch, 0, "nothing happened");
    }

    function testFuzz_a_close_moves_exactly_what_was_agreed(uint96 filled, uint96 drawn, uint96 agreed) public {
        sides.signer = stranger;
        filled = filled % 1e27 + 1;
        drawn = drawn % (filled + 1);
        agreed = drawn + agreed % (filled - drawn + 1);
        (uint256 payer, uint256 provider) = (token.balanceOf(sides.payer), token.balanceOf(sides.provider));
        _deposit(sides, filled);
        escrow.redeemMany(sides.provider, _row(STRANGER, sides, drawn));
        bytes32 digest = _closeDigest(sides, 0, agreed, _now());
        require(_tried(sides.payer, _close(agreed, _now(), _sign(PROVIDER, digest), "")), "closed");
        _closed(agreed, 1);
        _same(token.balanceOf(sides.payer) - payer, filled - agreed, "I9: payer");
        _same(token.balanceOf(sides.provider) - provider, agreed, "I9: provider");
    }

    function test_a_consent_dies_with_the_close_it_was_for() public {
        bytes32 digest = _closeDigest(sides, 0, 30, _now() + 9);
        bytes memory all = _close(30, _now() + 9, _sign(PROVIDER, digest), "");
        require(_tried(sides.payer, all), "closed");
        _deposit(sides, 50);
        _refused(sides.payer, all, IEscrow.ConsentMissing.selector, sides.provider);
        _same(_lane(sides).balance, 80, "A9");
    }

    // --- releases

    function test_a_release_gives_back_a_part_at_once() public {
        require(_tried(sides.payer, _start()), "an exit runs");
        uint40 due = _now() + WINDOW;
        bytes memory consent = _sign(PROVIDER, _releaseDigest(sides, 0, 40, _now()));
        vm.expectEmit(address(escrow));
        emit IEscrow.Released(sides.payer, sides.provider, sides.signer, 60);
        require(_tried(sides.payer, _release(40, _now(), consent)), "released");
        LaneState memory state = _lane(sides);
        _same(state.balance, 40, "balance");
        _same(state.claimed, 30, "claimed");
        _same(state.exitAt, due, "the exit goes on");
        _same(state.delaySeconds, WINDOW, "delay");
        _same(state.epoch, 1, "epoch");
        _same(token.balanceOf(sides.payer), 60, "arrived");
        _same(token.balanceOf(address(escrow)), 10, "I1");
        _same(escrow.redeemMany(sides.provider, _row(SESSION, sides, 90)), 10, "what is left can be drawn");
    }

    function test_a_release_counts_once() public {
        bytes memory call_ = _release(40, _now(), _sign(PROVIDER, _releaseDigest(sides, 0, 40, _now())));
        require(_tried(sides.payer, call_), "released");
        _deposit(sides, 60);
        _refused(sides.payer, call_, IEscrow.ConsentMissing.selector, sides.provider);
        bytes32 old = _closeDigest(sides, 0, 100, _now());
        bytes memory close_ = _close(100, _now(), "", _sign(PAYER, old));
        _refused(sides.provider, close_, IEscrow.ConsentMissing.selector, sides.payer);
    }

    function test_a_release_needs_the_provider_and_is_the_payers() public {
        bytes32 digest = _releaseDigest(sides, 0, 40, _now());
        bytes memory good = _signCompact(PROVIDER, digest);
        bytes[5] memory bad = [
            _sign(PAYER, digest),
            _sign(PROVIDER, _releaseDigest(sides, 0, 41, _now())),
            _sign(PROVIDER, _releaseDigest(sides, 1, 40, _now())),
            _sign(PROVIDER, _closeDigest(sides, 0, 40, _now())),
            bytes("")
        ];
        for (uint256 i; i < bad.length; ++i) {
            _refused(sides.payer, _release(40, _now(), bad[i]), IEscrow.ConsentMissing.selector, sides.provider);
        }
        bytes memory outside = abi.encodeWithSelector(IEscrow.CumulativeOutOfRange.selector, 0, 0);
        _refused(stranger, _release(40, _now(), good), outside);
        _refused(sides.provider, _release(40, _now(), good), outside);
        require(_tried(sides.payer, _release(40, _now(), good)), "the payer's");
    }

    function test_a_release_is_within_its_time_and_its_range() public {
        uint40 late = _now() - 1;
        bytes memory old = _release(40, late, _sign(PROVIDER, _releaseDigest(sides, 0, 40, late)));
        _refused(sides.payer, old, IEscrow.ConsentExpired.selector, late);
        uint96[3] memory asked = [uint96(29), 101, 100];
        for (uint256 i; i < 3; ++i) {
            bytes memory consent = _sign(PROVIDER, _releaseDigest(sides, 0, asked[i], _now()));
            bytes memory why = abi.encodeWithSelector(IEscrow.CumulativeOutOfRange.selector, 30, 100);
            if (i == 2) why = abi.encodeWithSelector(IEscrow.ZeroAmount.selector);
            _refused(sides.payer, _release(asked[i], _now(), consent), why);
        }
        bytes memory all = _sign(PROVIDER, _releaseDigest(sides, 0, 30, _now()));
        require(_tried(sides.payer, _release(30, _now(), all)), "all that was not drawn");
        _same(token.balanceOf(sides.payer), 70, "arrived");
    }

    function test_the_digests_are_the_ones_that_parties_sign() public view {
        (address a, address b, address c) = (sides.payer, sides.provider, sides.signer);
        require(escrow.closeDigest(a, b, c, 7, 8, 9) == _closeDigest(sides, 7, 8, 9), "close");
        require(escrow.releaseDigest(a, b, c, 7, 8, 9) == _releaseDigest(sides, 7, 8, 9), "release");
    }
}
