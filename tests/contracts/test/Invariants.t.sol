// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow} from "./Escrow.sol";
import {LaneSteps} from "./LaneSteps.sol";
import {SignedSteps} from "./SignedSteps.sol";
import {StakeSteps} from "./StakeSteps.sol";

/// @title All steps together, and the end of every story: everybody takes out what is theirs.
contract Market is LaneSteps, SignedSteps, StakeSteps {
    /// @dev Wherever the fuzzer left the market, nobody's money is stuck in it (I6, I13, I14).
    function windDown() external {
        vm.warp(clock);
        for (uint256 id; id < LANES; ++id) {
            Sides memory who = _sides(id);
            if (ghosts[id].balance == ghosts[id].claimed || ghosts[id].due != 0) continue;
            vm.prank(who.payer);
            escrow.startExit(who.provider, who.signer);
            ghosts[id].due = clock + ghosts[id].delay;
        }
        for (uint256 j; j < PROVIDERS; ++j) {
            if (stakes[j].amount == 0 || stakes[j].unlocksAt != 0) continue;
            vm.prank(providers[j]);
            escrow.leaveStake();
        }
        clock += STAKE_WINDOW;
        vm.warp(clock);
        for (uint256 id; id < LANES; ++id) {
            Sides memory who = _sides(id);
            if (ghosts[id].due == 0) continue;
            escrow.finishExit(who.payer, who.provider, who.signer);
            _settle(id, ghosts[id].claimed);
        }
        for (uint256 j; j < PROVIDERS; ++j) {
            address provider = providers[j];
            (, uint40 unlocksAt) = escrow.stakeOf(provider);
            if (unlocksAt == 0) continue;
            vm.prank(provider);
            escrow.takeStake();
            _move(address(escrow), provider, stakes[j].amount);
            stakes[j] = GhostStake(0, 0);
        }
        _compare();
        _same(token.balanceOf(address(escrow)), 0, "I6, I13: money is left behind");
    }

    function compare() external view {
        _compare();
    }
}

/// @dev The steps compare everything after each of them (I1 to I13); the fuzzer chooses which steps, and in what order.
contract InvariantsTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Market private market;

    function setUp() public {
        market = new Market();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(market);
    }

    function excludeSelectors() external view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        bytes4[] memory selectors = new bytes4[](2);
        (selectors[0], selectors[1]) = (Market.windDown.selector, Market.compare.selector);
        excluded[0] = FuzzSelector(address(market), selectors);
    }

    function invariant_the_books_and_the_escrow_agree() external view {
        market.compare();
    }

    function afterInvariant() external {
        market.windDown();
    }
}
