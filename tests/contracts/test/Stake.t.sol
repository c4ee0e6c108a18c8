// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow} from "./Escrow.sol";
import {Rig} from "./Rig.sol";

/// @title A provider's stake: put up, taken out after a long wait, lost for telling two stories of one thing.
contract StakeTest is Rig {
    uint96 private constant MOST = type(uint96).max;
    bytes32 private constant LEASE = "lease";

    struct Proof {
        uint8 kind;
        bytes32 subject;
        uint64 seq;
        bytes32 bodyA;
        uint256 keyA;
        bytes32 bodyB;
        uint256 keyB;
    }

    function setUp() public {
        _deployAll();
        token.mint(sides.provider, type(uint128).max);
        vm.prank(sides.provider);
        token.approve(address(escrow), type(uint256).max);
    }

    function _add(uint96 amount) private {
        vm.prank(sides.provider);
        escrow.addStake(amount);
    }

    function _staked(uint96 amount, uint40 unlockAt) private view {
        (uint96 has, uint40 unlocks) = escrow.stakeOf(sides.provider);
        _same(has, amount, "staked");
        _same(unlocks, unlockAt, "unlock");
    }

    function _proof(uint64 seq) private pure returns (Proof memory) {
        return Proof(0, LEASE, seq, "one", PROVIDER, "other", PROVIDER);
    }

    function _slash(address provider, Proof memory p) private view returns (bytes memory) {
        bytes memory a = _sign(p.keyA, _statementDigest(p.kind, p.subject, p.seq, p.bodyA));
        bytes memory b = _signCompact(p.keyB, _statementDigest(p.kind, p.subject, p.seq, p.bodyB));
        return abi.encodeCall(
            IEscrow.slashEquivocation, (provider, p.kind, p.subject, p.seq, p.bodyA, a, p.bodyB, b)
        );
    }

    // --- put up and take out

    function test_a_stake_adds_up() public {
        _refused(sides.provider, abi.encodeCall(IEscrow.addStake, (0)), IEscrow.ZeroAmount.selector);
        vm.expectEmit(address(escrow));
        emit IEscrow.StakeChanged(sides.provider, 100, 0);
        _add(100);
        vm.expectEmit(address(escrow));
        emit IEscrow.StakeChanged(sides.provider, 150, 0);
        _add(50);
        _staked(150, 0);
        _same(token.balanceOf(address(escrow)), 150, "held");
        _add(MOST - 150);
        _staked(MOST, 0);
        bytes memory overflow = abi.encodeWithSignature("Panic(uint256)", 0x11);
        _refused(sides.provider, abi.encodeCall(IEscrow.addStake, (1)), overflow);
    }

    function test_a_stake_comes_out_after_twice_the_longest_window() public {
        _add(100);
        bytes memory leaving = abi.encodeCall(IEscrow.leaveStake, ());
        bytes memory take = abi.encodeCall(IEscrow.takeStake, ());
        _refused(sides.provider, take, IEscrow.StakeNotLeaving.selector);
        _refused(stranger, leaving, IEscrow.NothingStaked.selector, stranger);
        uint40 due = _now() + STAKE_WINDOW;
        vm.expectEmit(address(escrow));
        emit IEscrow.StakeChanged(sides.provider, 100, due);
        require(_tried(sides.provider, leaving), "leaves");
        _staked(100, due);
        _refused(sides.provider, leaving, IEscrow.StakeAlreadyLeaving.selector, due);
        vm.warp(due - 1);
        _refused(sides.provider, take, IEscrow.StakeLocked.selector, due);
        vm.warp(due);
        _refused(stranger, take, IEscrow.StakeNotLeaving.selector);
        uint256 before = token.balanceOf(sides.provider);
        vm.expectEmit(address(escrow));
        emit IEscrow.StakeChanged(sides.provider, 0, 0);
        require(_tried(sides.provider, take), "taken");
        _same(token.balanceOf(sides.provider) - before, 100, "all of it");
        _staked(0, 0);
        _refused(sides.provider, take, IEscrow.StakeNotLeaving.selector);
        _refused(sides.provider, leaving, IEscrow.NothingStaked.selector, sides.provider);
    }

    function test_adding_stops_a_leave() public {
        _add(100);
        vm.prank(sides.provider);
        escrow.leaveStake();
        vm.warp(block.timestamp + STAKE_WINDOW);
        _add(1);
        _staked(101, 0);
        bytes memory take = abi.encodeCall(IEscrow.takeStake, ());
        _refused(sides.provider, take, IEscrow.StakeNotLeaving.selector);
        vm.prank(sides.provider);
        escrow.leaveStake();
        _staked(101, _now() + STAKE_WINDOW);
    }

    // --- slashed

    function test_two_stories_cost_half_of_which_a_quarter_is_the_reporters() public {
        _add(1001);
        vm.expectEmit(address(escrow));
        emit IEscrow.Slashed(sides.provider, stranger, 0, LEASE, 7, 125, 376);
        require(_tried(stranger, _slash(sides.provider, _proof(7))), "slashed");
        _staked(500, 0);
        _same(token.balanceOf(stranger), 125, "bounty");
        _same(token.balanceOf(NOBODY), 376, "burnt");
        _same(token.balanceOf(address(escrow)), 500, "I1");
    }

    function testFuzz_a_slash_takes_half_and_burns_three_quarters_of_it(uint96 amount) public {
        if (amount == 0) amount = 1;
        _add(amount);
        require(_tried(stranger, _slash(sides.provider, _proof(7))), "slashed");
        uint256 taken = uint256(amount) - amount / 2;
        _staked(amount / 2, 0);
        _same(token.balanceOf(stranger), taken / 4, "bounty");
        _same(token.balanceOf(NOBODY), taken - taken / 4, "burnt");
    }

    function test_one_fault_is_punished_once() public {
        _add(1000);
        require(_tried(stranger, _slash(sides.provider, _proof(7))), "slashed");
        Proof memory again = _proof(7);
        (again.bodyA, again.bodyB) = ("other", "third");
        _refused(stranger, _slash(sides.provider, _proof(7)), IEscrow.AlreadyPunished.selector);
        _refused(stranger, _slash(sides.provider, again), IEscrow.AlreadyPunished.selector);
        _staked(500, 0);
        require(_tried(stranger, _slash(sides.provider, _proof(8))), "another number");
        _staked(250, 0);
        again.subject = "another";
        require(_tried(stranger, _slash(sides.provider, again)), "another subject");
        _staked(125, 0);
        again.kind = 1;
        require(_tried(stranger, _slash(sides.provider, again)), "another kind");
        _staked(62, 0);
    }

    function test_another_providers_fault_of_the_same_name_counts_too() public {
        _add(1000);
        token.mint(stranger, 10);
        vm.startPrank(stranger);
        token.approve(address(escrow), 10);
        escrow.addStake(10);
        vm.stopPrank();
        require(_tried(sides.payer, _slash(sides.provider, _proof(7))), "slashed");
        Proof memory theirs = _proof(7);
        (theirs.keyA, theirs.keyB) = (STRANGER, STRANGER);
        require(_tried(sides.payer, _slash(stranger, theirs)), "slashed, too");
        _staked(500, 0);
    }

    function test_only_a_contradiction_in_the_providers_own_hand_counts() public {
        _add(1000);
        Proof memory p = _proof(7);
        p.bodyB = p.bodyA;
        _refused(stranger, _slash(sides.provider, p), IEscrow.NoContradiction.selector);
        p = _proof(7);
        p.keyA = STRANGER;
        _refused(stranger, _slash(sides.provider, p), IEscrow.NotItsStatement.selector, sides.provider);
        p = _proof(7);
        p.keyB = STRANGER;
        _refused(stranger, _slash(sides.provider, p), IEscrow.NotItsStatement.selector, sides.provider);
        p = _proof(7);
        p.kind = 2;
        _refused(stranger, _slash(sides.provider, p), IEscrow.UnknownStatement.selector, 2);
        _refused(stranger, _mixed(), IEscrow.NotItsStatement.selector, sides.provider);
        _staked(1000, 0);
    }

    /// @dev A receipt and a grant that happen to name the same 32 bytes and number.
    function _mixed() private view returns (bytes memory) {
        bytes memory a = _sign(PROVIDER, _statementDigest(0, LEASE, 7, "one"));
        bytes memory b = _sign(PROVIDER, _statementDigest(1, LEASE, 7, "other"));
        return abi.encodeCall(IEscrow.slashEquivocation, (sides.provider, 0, LEASE, 7, "one", a, "other", b));
    }

    function test_a_leaving_stake_is_slashed_like_any_other() public {
        _add(1000);
        vm.prank(sides.provider);
        escrow.leaveStake();
        uint40 due = _now() + STAKE_WINDOW;
        vm.warp(due);
        require(_tried(stranger, _slash(sides.provider, _proof(7))), "slashed");
        _staked(500, due);
        uint256 before = token.balanceOf(sides.provider);
        require(_tried(sides.provider, abi.encodeCall(IEscrow.takeStake, ())), "the rest comes out");
        _same(token.balanceOf(sides.provider) - before, 500, "the rest");
        _same(token.balanceOf(address(escrow)), 0, "I1");
    }

    function test_a_fault_without_a_stake_is_not_used_up() public {
        _refused(stranger, _slash(sides.provider, _proof(7)), IEscrow.NothingStaked.selector, sides.provider);
        _add(1);
        require(_tried(stranger, _slash(sides.provider, _proof(7))), "slashed");
        _staked(0, 0);
        _same(token.balanceOf(NOBODY), 1, "the last unit");
        _refused(stranger, _slash(sides.provider, _proof(8)), IEscrow.NothingStaked.selector, sides.provider);
    }

    function test_who_reports_itself_loses_three_quarters_of_it() public {
        _add(1000);
        uint256 before = token.balanceOf(sides.provider);
        require(_tried(sides.provider, _slash(sides.provider, _proof(7))), "reported itself");
        _same(token.balanceOf(sides.provider) - before, 125, "A16");
    }

    function test_the_digest_is_the_one_that_providers_sign() public view {
        for (uint8 kind; kind < 2; ++kind) {
            require(escrow.statementDigest(kind, LEASE, 7, "x") == _statementDigest(kind, LEASE, 7, "x"), "digest");
        }
    }
}
